// An over-eager grpc-go client (gRFC A8): it holds one silent stream open and pings as often as grpc-go lets it, every 10 s.
//
// A server that permits it leaves the stream alone; one that does not ends the connection with too_many_pings after two strikes.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"meshless/peers/go/pb/streamspb"
)

func main() {
	target := flag.String("target", "", "host:port")
	every := flag.Int("ping-seconds", 10, "grpc-go raises less than 10 to 10")
	seconds := flag.Int("seconds", 45, "how long to hold the stream")
	flag.Parse()

	connection, err := grpc.NewClient("passthrough:///"+*target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: time.Duration(*every) * time.Second, Timeout: 20 * time.Second, PermitWithoutStream: true,
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*seconds)*time.Second)
	defer cancel()
	stream, err := streamspb.NewStreamServiceClient(connection).BidiStream(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := stream.Send(&streamspb.StreamItem{Sequence: 0}); err != nil {
		log.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		log.Fatal(err)
	}
	begin := time.Now()
	_, err = stream.Recv() // Silence, until one side has enough of it.
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{
		"held_seconds": int(time.Since(begin).Seconds() + 0.5),
		"status":       status.Code(err).String(),
		"message":      status.Convert(err).Message(),
	}); err != nil {
		log.Fatal(err)
	}
}
