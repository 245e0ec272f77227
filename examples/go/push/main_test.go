package main

import (
	"reflect"
	"testing"

	"example.com/billing/billing"
)

func TestHeadersComeInAnyLines(t *testing.T) {
	given := []string{"ce_type=order%20placed&", "a=1%F", "F, &a=&null"}
	want := []billing.Header{
		{Name: "ce_type", Value: []byte("order placed")},
		{Name: "a", Value: []byte("1\xff")},
		{Name: "a", Value: []byte("")},
		{Name: "null"},
	}
	if got, err := headersOf(given); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v", got, err)
	}
	if got, err := headersOf(nil); err != nil || got != nil {
		t.Fatalf("no header became %v, %v", got, err)
	}
	if _, err := headersOf([]string{"a=%zz"}); err == nil {
		t.Fatal("a wrong escape was taken")
	}
}
