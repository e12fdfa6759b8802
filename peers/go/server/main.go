// The grpc-go server of the matrix: both services of the lab behind connections that grpc-go itself ages.
//
// It prints one JSON line when it listens and one when it ends (SIGTERM, SIGINT, or its stdin closes).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"meshless/peers/go/pb/hellopb"
	"meshless/peers/go/pb/streamspb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address; port 0 takes a free one")
	name := flag.String("name", "grpc-go", "what the response header meshless-backend says")
	serviceTime := flag.Int("service-time-ms", 10, "how long a unary call works")
	age := flag.Int("max-connection-age-ms", 0, "0: connections do not age")
	grace := flag.Int("max-connection-age-grace-ms", 0, "0: no limit")
	flag.Parse()

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	calls := &ledger{name: *name, executions: map[string]int{}, connections: map[string]bool{}}
	server := grpc.NewServer(
		// Zero means infinity to grpc-go as well. It adds ±10 % to the age by itself.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      time.Duration(*age) * time.Millisecond,
			MaxConnectionAgeGrace: time.Duration(*grace) * time.Millisecond,
		}),
		grpc.UnaryInterceptor(calls.unary),
		grpc.StreamInterceptor(calls.stream),
	)
	hellopb.RegisterHelloServiceServer(server, &echo{serviceTime: time.Duration(*serviceTime) * time.Millisecond})
	streamspb.RegisterStreamServiceServer(server, &streams{})

	go func() {
		waitForEnd()
		stop := time.AfterFunc(time.Second, server.Stop)
		server.GracefulStop()
		stop.Stop()
	}()
	printLine(map[string]string{"listening": listener.Addr().String()})
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
	printLine(calls.summary())
}

type echo struct {
	hellopb.UnimplementedHelloServiceServer
	serviceTime time.Duration
}

func (e *echo) Echo(ctx context.Context, request *hellopb.Request) (*hellopb.Response, error) {
	select {
	case <-time.After(e.serviceTime):
		return &hellopb.Response{Message: request.Message}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type streams struct {
	streamspb.UnimplementedStreamServiceServer
}

func (*streams) ServerStream(request *streamspb.StreamRequest, stream grpc.ServerStreamingServer[streamspb.StreamItem]) error {
	for sequence := range request.Count {
		if sequence > 0 {
			time.Sleep(time.Duration(request.IntervalMs) * time.Millisecond)
		}
		if err := stream.Send(&streamspb.StreamItem{Sequence: sequence, Payload: request.Payload}); err != nil {
			return err
		}
	}
	return nil
}

func (*streams) ClientStream(stream grpc.ClientStreamingServer[streamspb.StreamItem, streamspb.StreamSummary]) error {
	summary := &streamspb.StreamSummary{}
	for {
		item, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(summary)
		}
		if err != nil {
			return err
		}
		summary.Count++
		summary.Bytes += uint64(len(item.Payload))
	}
}

func (*streams) BidiStream(stream grpc.BidiStreamingServer[streamspb.StreamItem, streamspb.StreamItem]) error {
	for {
		item, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(item); err != nil {
			return err
		}
	}
}

// ledger counts what was executed, from a handler's begin, whether or not its answer arrived anywhere.
type ledger struct {
	name        string
	mutex       sync.Mutex
	executions  map[string]int
	connections map[string]bool
	idsMissing  int
}

func (l *ledger) unary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	l.begin(ctx)
	if err := grpc.SetHeader(ctx, metadata.Pairs("meshless-backend", l.name)); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (l *ledger) stream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	l.begin(stream.Context())
	// Sent at once: a client learns its backend before the first item.
	if err := stream.SendHeader(metadata.Pairs("meshless-backend", l.name)); err != nil {
		return err
	}
	return handler(server, stream)
}

func (l *ledger) begin(ctx context.Context) {
	ids := metadata.ValueFromIncomingContext(ctx, "meshless-call-id")
	client, known := peer.FromContext(ctx)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if known {
		l.connections[client.Addr.String()] = true
	}
	if len(ids) == 0 {
		l.idsMissing++
		return
	}
	l.executions[ids[0]]++
}

// summary counts in connections those that carried at least one call.
func (l *ledger) summary() map[string]int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	executed := l.idsMissing
	for _, times := range l.executions {
		executed += times
	}
	return map[string]int{
		"executed":    executed,
		"duplicates":  executed - l.idsMissing - len(l.executions),
		"ids_missing": l.idsMissing,
		"connections": len(l.connections),
	}
}

// waitForEnd returns when the process is told to end. A parent that dies closes our stdin, so none is left behind.
func waitForEnd() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(closed)
	}()
	select {
	case <-signals:
	case <-closed:
	}
}

func printLine(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		log.Fatal(err)
	}
}
