"""The path of a record, one module a stage: Reader, PendingQueue, OrderIterator, Writer, Committer, DeadLetterWriter."""
