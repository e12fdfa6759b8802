package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"meshless/peers/go/pb/hellopb"
)

// caller makes calls on one channel, and counts what passes through its connections.
type caller struct {
	hello    hellopb.HelloServiceClient
	deadline time.Duration
	opened   atomic.Uint64
	goaways  atomic.Uint64
	attempts atomic.Uint64
	told     struct{ opened, goaways uint64 }
}

func newCaller(target target) (*caller, error) {
	caller := &caller{deadline: target.Deadline.value()}
	uri := "dns:///" + target.Authority
	if target.DNS != nil {
		uri = "dns://" + *target.DNS + "/" + target.Authority
	}
	connection, err := grpc.NewClient(uri,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithContextDialer(caller.dial),
		grpc.WithStatsHandler(attempts{&caller.attempts}),
	)
	if err != nil {
		return nil, fmt.Errorf("grpc-go does not take %s: %w", uri, err)
	}
	caller.hello = hellopb.NewHelloServiceClient(connection)
	return caller, nil
}

func (c *caller) dial(ctx context.Context, address string) (net.Conn, error) {
	connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c.opened.Add(1)
	return &watched{Conn: connection, goaways: &c.goaways}, nil
}

// attempts counts the requests that are sent.
type attempts struct{ count *atomic.Uint64 }

func (a attempts) HandleRPC(_ context.Context, event stats.RPCStats) {
	if _, sent := event.(*stats.OutHeader); sent {
		a.count.Add(1)
	}
}

func (attempts) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (attempts) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (attempts) HandleConn(context.Context, stats.ConnStats) {}

// warmUp makes a call or a few, unrecorded, so that connections stand.
func (c *caller) warmUp() {
	for range 3 {
		if _, failed := c.call(context.Background()); failed == nil {
			return
		}
	}
}

// call makes one call; it returns the name of the backend that answered.
func (c *caller) call(ctx context.Context) (*string, *failure) {
	ctx, cancel := context.WithTimeout(ctx, c.deadline)
	defer cancel()
	var header metadata.MD
	if _, err := c.hello.Echo(ctx, &hellopb.Request{Message: "hello"}, grpc.Header(&header)); err != nil {
		return nil, failureOf(err)
	}
	if name := header.Get("meshless-backend"); len(name) > 0 {
		return &name[0], nil
	}
	return nil, nil
}

func withID(id uint64) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "meshless-call-id", strconv.FormatUint(id, 10))
}

// failure is what the caller learns of a failed call.
type failure struct {
	Code codes.Code
	// Hint is how far it came: Deadline, NeverSent or Unknown.
	Hint string
}

func failureOf(err error) *failure {
	code := status.Code(err)
	hint := "Unknown"
	switch {
	case code == codes.DeadlineExceeded:
		hint = "Deadline"
	// Texts of grpc-go for calls that found no connection; nothing in a status says so otherwise.
	case code == codes.Unavailable && (strings.Contains(err.Error(), "error while dialing") ||
		strings.Contains(err.Error(), "last connection error") || strings.Contains(err.Error(), "produced zero addresses")):
		hint = "NeverSent"
	}
	return &failure{Code: code, Hint: hint}
}
