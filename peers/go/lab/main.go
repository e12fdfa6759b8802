// grpc-go as a client of the lab: `meshless compare --grpc-go <this program>` starts it where it would start its own client, and
// speaks to it in lines of JSON (crates/meshless-lab/src/control.rs). Its rows are called grpc-go.
//
// round_robin over what DNS says, and nothing else set: no retry policy, no wait-for-ready, DNS asked at most every 30 s.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	if err := serve(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// command is one line from the lab: exactly one of its parts.
type command struct {
	Target *target
	WarmUp bool
	Run    *run
}

// target says whom to call.
type target struct {
	Authority string   `json:"authority"`
	DNS       *string  `json:"dns"`
	Deadline  duration `json:"deadline"`
}

// run says when to call.
type run struct {
	Pacing  pacing `json:"pacing"`
	FirstID uint64 `json:"first_id"`
}

// UnmarshalJSON knows that a command without arguments is a bare string.
func (c *command) UnmarshalJSON(line []byte) error {
	if string(line) == `"WarmUp"` {
		c.WarmUp = true
		return nil
	}
	type parts command
	return json.Unmarshal(line, (*parts)(c))
}

// duration is a time.Duration in the words of the lab.
type duration struct {
	Seconds int64 `json:"secs"`
	Nanos   int64 `json:"nanos"`
}

func (d duration) value() time.Duration {
	return time.Duration(d.Seconds)*time.Second + time.Duration(d.Nanos)
}

func spoken(d time.Duration) duration {
	return duration{Seconds: int64(d / time.Second), Nanos: int64(d % time.Second)}
}

func serve(commands *os.File, output *os.File) error {
	lines := bufio.NewScanner(commands)
	lines.Buffer(nil, lineMax)
	answers := json.NewEncoder(output)
	var caller *caller
	for lines.Scan() {
		var command command
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			return fmt.Errorf("a line that is not understood: %w", err)
		}
		var err error
		switch {
		case command.Target != nil:
			caller, err = newCaller(*command.Target)
		case caller == nil:
			err = fmt.Errorf("the first line must be a target")
		case command.WarmUp:
			caller.warmUp()
			err = answers.Encode("Warm")
		case command.Run != nil:
			err = caller.run(*command.Run, func(message any) error { return answers.Encode(message) })
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// A line holds a target or a pacing: some hundred bytes.
const lineMax = 1 << 20
