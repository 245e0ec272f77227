package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"example.com/billing/billing"
	pb "example.com/billing/gen/mps/delivery/v1"
)

const (
	credit        = 64        // records at a time, each in a goroutine of its own
	creditBytes   = 64 << 20  // of keys, values and headers
	frameBytesMax = 128 << 20 // gRPC's own bound would be 4 MiB, less than a large record
)

// session is one stream. Only `write` sends frames; `due` wakes it.
type session struct {
	service *service
	stream  pb.Delivery_SubscribeClient
	due     chan struct{}

	mu        sync.Mutex
	lease     time.Duration
	unsettled map[uint64]uint64 // bytes of deliveries that are not settled
	settle    *pb.Settle
	credit    *pb.Credit // to be given back
	leaving   bool
}

// stream runs one stream until it fails or, after `leaving`, until all its records are settled.
func (s *service) stream(leaving context.Context, address string, peers func([]string)) error {
	connection, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(frameBytesMax)),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithCancel(context.Background()) // not `leaving`: that would cut the stream
	defer cancel()
	stream, err := pb.NewDeliveryClient(connection).Subscribe(ctx)
	if err != nil {
		return err
	}
	open := &pb.Open{
		Subscription: s.subscription, Client: s.client, Credit: &pb.Credit{Records: credit, Bytes: creditBytes},
	}
	if err := stream.Send(&pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Open{Open: open}}); err != nil {
		_, err = stream.Recv() // returns the reason
		return err
	}
	x := &session{
		service: s, stream: stream, due: make(chan struct{}, 1), unsettled: map[uint64]uint64{},
		settle: &pb.Settle{}, credit: &pb.Credit{},
	}
	written := make(chan error, 1)
	go func() { written <- x.write(ctx, leaving) }()
	err = x.read(cancel, peers)
	cancel()
	<-written
	return err
}

// read takes frames until the stream ends.
func (x *session) read(cancel func(), peers func([]string)) error {
	silence := time.AfterFunc(10*time.Second, cancel) // until it is opened
	patience := 10 * time.Second
	defer silence.Stop()
	for {
		frame, err := x.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch content := frame.Frame.(type) {
		case *pb.SubscribeResponse_Opened:
			patience = 3 * time.Duration(content.Opened.KeepAliveMs) * time.Millisecond
			x.mu.Lock()
			x.lease = time.Duration(content.Opened.LeaseMs) * time.Millisecond
			x.mu.Unlock()
			x.wake()
		case *pb.SubscribeResponse_Records:
			x.take(content.Records.Records)
		case *pb.SubscribeResponse_Peers:
			peers(content.Peers.Addresses)
		case *pb.SubscribeResponse_Drain:
			x.leave()
		case *pb.SubscribeResponse_Stale: // these come again; what we say of them does not count
			x.mu.Lock()
			for _, id := range content.Stale.DeliveryIds {
				x.giveBack(id)
			}
			x.mu.Unlock()
			x.wake()
		}
		silence.Reset(patience)
	}
}

// take starts the work on each record. The daemon never has two of one key out.
func (x *session) take(records []*pb.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.leaving {
		return // not started: delivered elsewhere when the stream closes
	}
	for _, given := range records {
		size := len(given.Key) + len(given.Value)
		for _, header := range given.Headers {
			size += len(header.Name) + len(header.Value)
		}
		x.unsettled[given.DeliveryId] = uint64(size)
		go x.work(given)
	}
}

func (x *session) work(given *pb.Record) {
	var headers []billing.Header
	for _, header := range given.Headers {
		headers = append(headers, billing.Header{Name: header.Name, Value: header.Value})
	}
	err := x.service.bills.Bill(billing.Record{
		Topic: given.Topic, Partition: given.Partition, Offset: given.Offset, Key: given.Key, Value: given.Value,
		Headers: headers, Attempt: given.Attempt, Replay: given.Replay, ID: given.IdempotencyKey,
	})
	var dead *billing.DeadLetter
	var retry *billing.Retry
	id := given.DeliveryId
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.giveBack(id) {
		return // the daemon has ended this delivery
	}
	switch {
	case err == nil:
		x.settle.Acks = append(x.settle.Acks, id)
	case errors.As(err, &dead):
		x.settle.DeadLetters = append(x.settle.DeadLetters, &pb.DeadLetter{DeliveryId: id, Reason: dead.Reason})
	case errors.As(err, &retry):
		delay := uint32(retry.After / time.Millisecond)
		x.settle.Retries = append(x.settle.Retries, &pb.Retry{DeliveryId: id, DelayMs: delay, Reason: retry.Reason})
	default:
		x.settle.Retries = append(x.settle.Retries, &pb.Retry{DeliveryId: id, Reason: err.Error()})
	}
	x.wake()
}

// giveBack removes the delivery and grants its credit again. The caller has locked x.mu.
func (x *session) giveBack(id uint64) bool {
	size, found := x.unsettled[id]
	if found {
		delete(x.unsettled, id)
		x.credit.Records++
		x.credit.Bytes += size
	}
	return found
}

func (x *session) leave() {
	x.mu.Lock()
	x.leaving = true
	x.mu.Unlock()
	x.wake()
}

func (x *session) wake() {
	select {
	case x.due <- struct{}{}:
	default:
	}
}

// write sends the frames that are due, and closes its side when it leaves and all records are settled.
func (x *session) write(ctx, leaving context.Context) error {
	lease := time.NewTimer(time.Hour)
	defer lease.Stop()
	isLeaving := leaving.Done()
	hasLease := false
	for {
		extend := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-isLeaving:
			isLeaving = nil
			x.leave()
		case <-lease.C:
			extend = true
		case <-x.due:
		}
		frames, isDone, period := x.frames(extend)
		for _, frame := range frames {
			if err := x.stream.Send(frame); err != nil {
				return err // `read` gets the reason
			}
		}
		if isDone {
			return x.stream.CloseSend()
		}
		if period > 0 && (extend || !hasLease) {
			hasLease = true
			lease.Reset(period / 3) // so that two frames may be late
		}
	}
}

// frames returns the frames that are due, whether they are the last ones, and the lease (0: not known yet).
func (x *session) frames(extend bool) (frames []*pb.SubscribeRequest, isDone bool, lease time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.settle.Acks)+len(x.settle.Retries)+len(x.settle.DeadLetters) > 0 {
		frames = append(frames, &pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Settle{Settle: x.settle}})
		x.settle = &pb.Settle{}
	}
	if x.credit.Records > 0 && !x.leaving {
		frames = append(frames, &pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Credit{Credit: x.credit}})
		x.credit = &pb.Credit{}
	}
	if extend && len(x.unsettled) > 0 {
		ids := make([]uint64, 0, len(x.unsettled))
		for id := range x.unsettled {
			ids = append(ids, id)
		}
		extended := &pb.Extend{DeliveryIds: ids}
		frames = append(frames, &pb.SubscribeRequest{Frame: &pb.SubscribeRequest_Extend{Extend: extended}})
	}
	return frames, x.leaving && len(x.unsettled) == 0, x.lease
}
