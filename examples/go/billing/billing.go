// Package billing is the business: it bills orders, whichever way they came.
package billing

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Record is one delivery of one record.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       []byte // nil: it has none
	Value     []byte // nil: a tombstone
	Headers   []Header
	Attempt   uint32
	Replay    string
	ID        string // the idempotency key: the same for every attempt, another for every other record; opaque
}

// Header is one of a record's headers; names may repeat.
type Header struct {
	Name  string
	Value []byte // nil: null
}

// DeadLetter is the error that moves the record to the dead-letter topic.
type DeadLetter struct{ Reason string }

func (e *DeadLetter) Error() string { return e.Reason }

// Retry is the error that asks for another delivery of the record; any other error means the same.
type Retry struct {
	Reason string
	After  time.Duration
}

func (e *Retry) Error() string { return e.Reason }

// Bills is what was billed: a line for each record. A real service has a table with a unique column, and writes it in the
// transaction that does the work.
type Bills struct {
	mu   sync.Mutex
	file *os.File
	done map[string]bool
}

// Open reads what was billed before.
func Open(path string) (*Bills, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	bills := &Bills{file: file, done: map[string]bool{}}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		bills.done[lines.Text()] = true
	}
	return bills, lines.Err()
}

// Bill bills an order; nil: done, the next record of its key may come. Orders of one customer never overlap.
func (b *Bills) Bill(record Record) error {
	if record.Value == nil {
		return nil // the order was deleted: nothing to bill
	}
	var order struct{ Amount *float64 }
	if err := json.Unmarshal(record.Value, &order); err != nil || order.Amount == nil {
		return &DeadLetter{"not an order"}
	}
	if *order.Amount < 0 {
		return &DeadLetter{"an amount cannot be below zero"}
	}
	if *order.Amount == 13 && record.Attempt == 1 {
		return &Retry{"the bank is superstitious", 100 * time.Millisecond}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done[record.ID] {
		return nil // it came again, after a crash
	}
	if _, err := fmt.Fprintln(b.file, record.ID); err != nil {
		return err
	}
	b.done[record.ID] = true
	return nil
}
