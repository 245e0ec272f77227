"""Views for people. What is shown is built without a terminal; `screen` alone knows whether there is one."""
