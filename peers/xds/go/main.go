// The grpc-go client of the xDS checks: calls again and again, and prints a line for each.
//
// A line is the time of the call's end in ms, how long it took, and the backend or an exclamation mark and the code.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

// raw passes messages on as bytes, so that no generated code is needed.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }
func (raw) Name() string                       { return "raw" }

func main() {
	target := flag.String("target", "", "xds:///name:port")
	workers := flag.Int("workers", 1, "calls open at a time")
	pause := flag.Int("pause-ms", 10, "between the calls of a worker")
	flag.Parse()
	connection, err := grpc.NewClient(*target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	go func() {
		// Its end is the end of whoever started this.
		os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	var mutex sync.Mutex
	for range *workers {
		go func() {
			for {
				call(connection, &mutex)
				time.Sleep(time.Duration(*pause) * time.Millisecond)
			}
		}()
	}
	select {}
}

func call(connection *grpc.ClientConn, mutex *sync.Mutex) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// What ring_hash goes by, where it is in use.
	ctx = metadata.AppendToOutgoingContext(ctx, "session", "one")
	request, response := []byte("\x0a\x05hello"), []byte{}
	var header metadata.MD
	begun := time.Now()
	err := connection.Invoke(ctx, "/hello.HelloService/Echo", &request, &response, grpc.Header(&header), grpc.ForceCodec(raw{}))
	result := "unnamed"
	if err != nil {
		result = "!" + status.Code(err).String()
		fmt.Fprintln(os.Stderr, err)
	} else if names := header.Get("meshless-backend"); len(names) > 0 {
		result = names[0]
	}
	mutex.Lock()
	defer mutex.Unlock()
	fmt.Println(time.Now().UnixMilli(), time.Since(begun).Milliseconds(), result)
}
