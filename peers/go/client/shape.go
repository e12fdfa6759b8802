package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"meshless/peers/go/pb/hellopb"
	"meshless/peers/go/pb/streamspb"
)

var payload = []byte("sixteen bytes ok")

// shape makes one call of its kind and checks the answer: a wrong one counts as DATA_LOSS.
type shape struct {
	hello    hellopb.HelloServiceClient
	streams  streamspb.StreamServiceClient
	items    uint32
	interval time.Duration
	call     func(*shape, context.Context) (metadata.MD, error)
}

func newShape(name string, connection *grpc.ClientConn, items uint32, interval time.Duration) (*shape, error) {
	call, known := map[string]func(*shape, context.Context) (metadata.MD, error){
		"unary":         (*shape).unary,
		"server-stream": (*shape).serverStream,
		"client-stream": (*shape).clientStream,
		"bidi-stream":   (*shape).bidiStream,
	}[name]
	if !known {
		return nil, fmt.Errorf("unknown shape %q", name)
	}
	return &shape{
		hello:    hellopb.NewHelloServiceClient(connection),
		streams:  streamspb.NewStreamServiceClient(connection),
		items:    items,
		interval: interval,
		call:     call,
	}, nil
}

// run returns the backend that answered.
func (s *shape) run(id string, deadline time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	header, err := s.call(s, metadata.AppendToOutgoingContext(ctx, "meshless-call-id", id))
	if err != nil {
		return "", err
	}
	if backend := header.Get("meshless-backend"); len(backend) > 0 {
		return backend[0], nil
	}
	return "unnamed", nil
}

func (s *shape) unary(ctx context.Context) (metadata.MD, error) {
	var header metadata.MD
	response, err := s.hello.Echo(ctx, &hellopb.Request{Message: "hello"}, grpc.Header(&header))
	if err == nil && response.Message != "hello" {
		err = wrongAnswer("message %q", response.Message)
	}
	return header, err
}

func (s *shape) serverStream(ctx context.Context) (metadata.MD, error) {
	stream, err := s.streams.ServerStream(ctx, &streamspb.StreamRequest{
		Count: s.items, IntervalMs: uint32(s.interval.Milliseconds()), Payload: payload,
	})
	if err != nil {
		return nil, err
	}
	for sequence := range s.items {
		if err := expect(sequence, stream.Recv); err != nil {
			return nil, err
		}
	}
	return endOf(stream, stream.Recv)
}

func (s *shape) clientStream(ctx context.Context) (metadata.MD, error) {
	stream, err := s.streams.ClientStream(ctx)
	if err != nil {
		return nil, err
	}
	for sequence := range s.items {
		if err := s.send(sequence, stream.Send); errors.Is(err, io.EOF) {
			break // The call has ended; CloseAndRecv says how.
		} else if err != nil {
			return nil, err
		}
	}
	summary, err := stream.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	if summary.Count != s.items || summary.Bytes != uint64(s.items)*uint64(len(payload)) {
		return nil, wrongAnswer("summary %v", summary)
	}
	return stream.Header()
}

func (s *shape) bidiStream(ctx context.Context) (metadata.MD, error) {
	stream, err := s.streams.BidiStream(ctx)
	if err != nil {
		return nil, err
	}
	for sequence := range s.items {
		if err := s.send(sequence, stream.Send); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if err := expect(sequence, stream.Recv); err != nil {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return endOf(stream, stream.Recv)
}

// send paces: the first item goes at once, the others an interval apart.
func (s *shape) send(sequence uint32, send func(*streamspb.StreamItem) error) error {
	if sequence > 0 {
		time.Sleep(s.interval)
	}
	return send(&streamspb.StreamItem{Sequence: sequence, Payload: payload})
}

func expect(sequence uint32, recv func() (*streamspb.StreamItem, error)) error {
	item, err := recv()
	if errors.Is(err, io.EOF) {
		return wrongAnswer("ended before item %d", sequence)
	}
	if err != nil {
		return err
	}
	if item.Sequence != sequence || string(item.Payload) != string(payload) {
		return wrongAnswer("item %v instead of %d", item, sequence)
	}
	return nil
}

func endOf(stream grpc.ClientStream, recv func() (*streamspb.StreamItem, error)) (metadata.MD, error) {
	if item, err := recv(); err == nil {
		return nil, wrongAnswer("item %v after the last", item)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Header()
}

func wrongAnswer(format string, values ...any) error {
	return status.Errorf(codes.DataLoss, format, values...)
}

// callIDs counts up from a random begin, so that clients of one server do not share ids.
type callIDs struct{ last atomic.Uint64 }

func newCallIDs() *callIDs {
	var random [8]byte
	_, _ = rand.Read(random[:]) // Never fails, by contract.
	ids := &callIDs{}
	// 31 random bits over 32 that count: every peer can hold it, also as a signed 64-bit number.
	ids.last.Store(binary.BigEndian.Uint64(random[:]) >> 33 << 32)
	return ids
}

func (c *callIDs) next() string { return strconv.FormatUint(c.last.Add(1), 10) }
