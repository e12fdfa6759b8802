// CoreDNS with the little that the matrix needs: answers from a hosts file, which may change while it runs.
//
// This is the way that CoreDNS documents to build a smaller one; server and plugins are CoreDNS' own, unchanged.
// It prints one JSON line when it listens and ends on SIGTERM or when its stdin closes.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
)

func main() {
	hosts := flag.String("hosts", "", "hosts file; replace it to change the answers")
	dnsserver.Directives = []string{"bind", "errors", "hosts"}
	dnsserver.Quiet = true
	port := freePort()

	// CoreDNS parses the flags, so the configuration is made only when it asks for one.
	caddy.RegisterCaddyfileLoader("peers", caddy.LoaderFunc(func(serverType string) (caddy.Input, error) {
		// A TTL of 1 s and a look at the file five times a second: what changes is seen within the second.
		config := fmt.Sprintf(`peers.test:%d {
			bind 127.0.0.1
			errors
			hosts %q {
				ttl 1
				reload 200ms
				no_reverse
			}
		}`, port, *hosts)
		return caddy.CaddyfileInput{Contents: []byte(config), ServerTypeName: serverType}, nil
	}))
	caddy.RegisterEventHook("listening", func(event caddy.EventName, _ any) error {
		if event != caddy.InstanceStartupEvent {
			return nil
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]string{"listening": fmt.Sprintf("127.0.0.1:%d", port)})
	})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	coremain.Run()
}

// freePort finds a port that is free for UDP and TCP alike: with port 0, CoreDNS would take two different ones.
func freePort() int {
	for range 100 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		port := stream.Addr().(*net.TCPAddr).Port
		datagram, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		stream.Close()
		if err == nil {
			datagram.Close()
			return port
		}
	}
	log.Fatal("no port is free for UDP and TCP alike")
	return 0
}
