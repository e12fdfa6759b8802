// The grpc-go client of the matrix: a closed loop of calls through pick_first or round_robin, counted by outcome.
//
// It uses grpc-go as its users do: no wait-for-ready, no retry policy, so that only what grpc-go heals by itself is healed.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/dns"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

func main() {
	target := flag.String("target", "", "ipv4:host:port[,host:port…] or dns://[server]/name:port")
	policy := flag.String("policy", "pick_first", "pick_first or round_robin")
	calls := flag.Int64("calls", 0, "end after as many; 0: no limit")
	seconds := flag.Float64("seconds", 0, "end after as long; 0: no limit")
	inFlight := flag.Int("in-flight", 10, "calls open at a time")
	deadline := flag.Int("deadline-ms", 1000, "of each call")
	shapeName := flag.String("shape", "unary", "unary, server-stream, client-stream or bidi-stream")
	items := flag.Uint("items", 5, "of a stream")
	interval := flag.Uint("interval-ms", 20, "between the items of a stream")
	dnsFloor := flag.Int("dns-floor-ms", 30_000, "grpc-go asks DNS no more often; 30 000 is its default")
	flag.Parse()
	if *calls == 0 && *seconds == 0 {
		log.Fatal("give --calls or --seconds")
	}

	dns.SetMinResolutionInterval(time.Duration(*dnsFloor) * time.Millisecond)
	connection, err := dial(*target, *policy)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	call, err := newShape(*shapeName, connection, uint32(*items), time.Duration(*interval)*time.Millisecond)
	if err != nil {
		log.Fatal(err)
	}

	tally := &tally{ByStatus: map[string]int{}, Backends: map[string]int{}}
	ids := newCallIDs()
	end := time.Now().Add(time.Duration(*seconds * float64(time.Second)))
	var begun atomic.Int64
	var workers sync.WaitGroup
	for range *inFlight {
		workers.Go(func() {
			for (*seconds == 0 || time.Now().Before(end)) && (*calls == 0 || begun.Add(1) <= *calls) {
				backend, err := call.run(ids.next(), time.Duration(*deadline)*time.Millisecond)
				tally.note(backend, err)
			}
		})
	}
	workers.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(tally); err != nil {
		log.Fatal(err)
	}
}

func dial(target, policy string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)),
	}
	// gRPC's naming document has `ipv4:`, grpc-go does not.
	if list, isList := strings.CutPrefix(target, "ipv4:"); isList {
		addresses := manual.NewBuilderWithScheme("list")
		var state resolver.State
		for _, address := range strings.Split(list, ",") {
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
		}
		addresses.InitialState(state)
		options = append(options, grpc.WithResolvers(addresses))
		target = "list:///peers"
	}
	return grpc.NewClient(target, options...)
}

// tally is the line that the client prints.
type tally struct {
	mutex    sync.Mutex
	OK       int            `json:"ok"`
	Failed   int            `json:"failed"`
	ByStatus map[string]int `json:"by_status"`
	Backends map[string]int `json:"backends"`
}

func (t *tally) note(backend string, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if err == nil {
		t.OK++
		t.Backends[backend]++
		return
	}
	name := statusName(err)
	if t.ByStatus[name] == 0 {
		fmt.Fprintf(os.Stderr, "first %s: %v\n", name, err)
	}
	t.Failed++
	t.ByStatus[name]++
}

// statusName spells a code as gRPC's documents and the other peers do; grpc-go says "DeadlineExceeded".
func statusName(err error) string {
	for _, name := range []string{
		"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	} {
		var code codes.Code
		if code.UnmarshalJSON([]byte(`"`+name+`"`)) == nil && code == status.Code(err) {
			return name
		}
	}
	return "UNKNOWN"
}
