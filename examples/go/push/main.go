// A service that records are posted to: delivery.protocol = "rest".
//
//	push -listen 127.0.0.1:8000 -bills bills.txt
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"example.com/billing/billing"
)

const (
	bodyBytesMax = 64 << 20
	drain        = 25 * time.Second // below the usual 30 s of a pod
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "address")
	path := flag.String("bills", "bills.txt", "file of what was billed")
	flag.Parse()
	bills, err := billing.Open(*path)
	if err != nil {
		log.Fatal(err)
	}
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) { post(bills, w, r) })
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-stopping.Done()
	ending, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := server.Shutdown(ending); err != nil { // requests being answered are finished
		log.Fatal(err)
	}
}

// The status is the verdict on the record.
func post(bills *billing.Bills, w http.ResponseWriter, r *http.Request) {
	record, err := recordOf(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	err = bills.Bill(record)
	var dead *billing.DeadLetter
	var retry *billing.Retry
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.As(err, &dead):
		w.Header().Set("Mps-Reason", dead.Reason)
		w.WriteHeader(http.StatusUnprocessableEntity)
	case errors.As(err, &retry):
		w.Header().Set("Mps-Reason", retry.Reason)
		w.Header().Set("Retry-After", strconv.Itoa(int((retry.After+time.Second-1)/time.Second)))
		w.WriteHeader(http.StatusInternalServerError)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func recordOf(w http.ResponseWriter, r *http.Request) (record billing.Record, err error) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err != nil {
		return record, err
	}
	if r.Header.Get("Mps-Tombstone") == "true" {
		value = nil
	}
	partition, err1 := strconv.ParseInt(r.Header.Get("Mps-Partition"), 10, 32)
	offset, err2 := strconv.ParseInt(r.Header.Get("Mps-Offset"), 10, 64)
	attempt, err3 := strconv.ParseUint(r.Header.Get("Mps-Attempt"), 10, 32)
	topic, err4 := url.PathUnescape(r.Header.Get("Mps-Topic"))
	replay, err5 := url.PathUnescape(r.Header.Get("Mps-Replay"))
	headers, err6 := headersOf(r.Header.Values("Mps-Headers"))
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return record, fmt.Errorf("not from the proxy: %w", err)
	}
	record = billing.Record{
		Topic: topic, Partition: int32(partition), Offset: offset, Value: value, Headers: headers,
		Attempt: uint32(attempt), Replay: replay, ID: r.Header.Get("Idempotency-Key"),
	}
	if record.ID == "" {
		return record, errors.New("not from the proxy: there is no Idempotency-Key")
	}
	if keys := r.Header.Values("Mps-Key"); len(keys) > 0 { // absent: no key; empty: an empty key
		key, err := url.PathUnescape(strings.TrimSpace(keys[0]))
		record.Key = []byte(key)
		return record, err
	}
	return record, nil
}

// headersOf reads name=value&name=value, both percent-encoded; a null value has no "=". A long text comes in several lines,
// between which servers may put commas and blanks.
func headersOf(lines []string) (headers []billing.Header, err error) {
	if len(lines) == 0 {
		return nil, nil
	}
	text := strings.NewReplacer(",", "", " ", "", "\t", "").Replace(strings.Join(lines, ""))
	for _, field := range strings.Split(text, "&") {
		name, value, isGiven := strings.Cut(field, "=")
		plainName, err1 := url.PathUnescape(name)
		plainValue, err2 := url.PathUnescape(value)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		header := billing.Header{Name: plainName}
		if isGiven {
			header.Value = []byte(plainValue)
		}
		headers = append(headers, header)
	}
	return headers, nil
}
