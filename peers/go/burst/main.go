// grpc-go's own onset: N unary calls at once on one connection, in rounds, and the share that fails.
//
// The lab's burst row is compared with this one in the same run, on the same machine.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"meshless/peers/go/pb/hellopb"
)

func main() {
	target := flag.String("target", "", "host:port of one server")
	calls := flag.Int("calls", 1000, "begun at once in each round")
	rounds := flag.Int("rounds", 5, "")
	deadline := flag.Int("deadline-ms", 300, "of each call, from its begin")
	flag.Parse()

	connection, err := grpc.NewClient("passthrough:///"+*target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := hellopb.NewHelloServiceClient(connection)
	// The connection stands before the first round, so that the burst alone is measured.
	if _, err := client.Echo(context.Background(), &hellopb.Request{Message: "warm"}, grpc.WaitForReady(true)); err != nil {
		log.Fatal(err)
	}

	failed := 0
	byStatus := map[string]int{}
	for range *rounds {
		for _, code := range round(client, *calls, time.Duration(*deadline)*time.Millisecond) {
			if code != "OK" {
				failed++
				byStatus[code]++
			}
		}
		// What the round left behind must not weigh on the next.
		time.Sleep(500 * time.Millisecond)
	}
	err = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"calls": *calls, "rounds": *rounds, "failed": failed, "by_status": byStatus,
		"error_rate": float64(failed) / float64(*calls**rounds),
	})
	if err != nil {
		log.Fatal(err)
	}
}

func round(client hellopb.HelloServiceClient, calls int, deadline time.Duration) []string {
	outcomes := make([]string, calls)
	start := make(chan struct{})
	var open sync.WaitGroup
	for call := range calls {
		open.Go(func() {
			<-start
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			_, err := client.Echo(ctx, &hellopb.Request{Message: "hello"})
			outcomes[call] = status.Code(err).String()
		})
	}
	close(start)
	open.Wait()
	return outcomes
}
