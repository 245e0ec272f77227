// A service that dials in: delivery.protocol = "stream".
//
//	stream -subscription billing -address 127.0.0.1:7072 -bills bills.txt
//
// It keeps a stream to every daemon: the first names the others, and tells of every change.
package main

import (
	"context"
	"flag"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"example.com/billing/billing"
)

const (
	backoffMin = 100 * time.Millisecond
	backoffMax = 10 * time.Second
	drain      = 25 * time.Second // below the usual 30 s of a pod
)

// service keeps the streams.
type service struct {
	subscription string
	bootstrap    string
	client       string
	bills        *billing.Bills

	mu      sync.Mutex
	links   map[string]context.CancelFunc // by address; cancelled: to be left when what runs is settled
	running sync.WaitGroup
}

func main() {
	subscription := flag.String("subscription", "billing", "name in the daemon's configuration")
	address := flag.String("address", "127.0.0.1:7072", "of the stream listener of any daemon")
	path := flag.String("bills", "bills.txt", "file of what was billed")
	flag.Parse()
	bills, err := billing.Open(*path)
	if err != nil {
		log.Fatal(err)
	}
	host, _ := os.Hostname()
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := &service{
		subscription: *subscription, bootstrap: *address, client: host, bills: bills, links: map[string]context.CancelFunc{},
	}
	s.follow(stopping, []string{*address})
	<-stopping.Done()
	time.AfterFunc(drain, func() { log.Fatal("handlers did not end in time") })
	s.running.Wait()
}

// follow sees to it that there is a link to each of the addresses, and none to others.
func (s *service) follow(stopping context.Context, addresses []string) {
	if len(addresses) == 0 || stopping.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]bool{}
	for _, address := range addresses {
		wanted[address] = true
		if s.links[address] == nil {
			leaving, leave := context.WithCancel(stopping)
			s.links[address] = leave
			s.running.Add(1)
			go s.link(stopping, leaving, address)
		}
	}
	for address, leave := range s.links {
		if !wanted[address] {
			leave()
		}
	}
}

// link dials one daemon again and again, with pauses of full jitter, until it is to be left.
func (s *service) link(stopping, leaving context.Context, address string) {
	defer s.running.Done()
	pause := backoffMin
	for leaving.Err() == nil {
		began := time.Now()
		err := s.stream(leaving, address, func(peers []string) { s.follow(stopping, peers) })
		if leaving.Err() != nil {
			break
		}
		if time.Since(began) > backoffMax {
			pause = backoffMin
		}
		log.Printf("%s: stream ended: %v", address, err)
		select {
		case <-time.After(rand.N(pause)):
		case <-leaving.Done():
		}
		pause = min(2*pause, backoffMax)
	}
	s.mu.Lock()
	delete(s.links, address)
	alone := len(s.links) == 0
	s.mu.Unlock()
	if alone { // all known daemons have left: begin with the configured address again
		s.follow(stopping, []string{s.bootstrap})
	}
}
