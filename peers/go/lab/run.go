package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// record is one call as the lab wants to hear of it; times count from the start of the run.
type record struct {
	ID          uint64         `json:"id"`
	ScheduledNS int64          `json:"scheduled_ns"`
	StartedNS   int64          `json:"started_ns"`
	FinishedNS  int64          `json:"finished_ns"`
	End         map[string]any `json:"end"`
}

// totals is what a run took as a whole.
type totals struct {
	StartNS           int64    `json:"start_ns"`
	CPU               duration `json:"cpu"`
	ConnectionsOpened uint64   `json:"connections_opened"`
	GoawaysSeen       uint64   `json:"goaways_seen"`
	Attempts          uint64   `json:"attempts"`
	// Resent is not told: grpc-go says it of no call.
	Resent uint64 `json:"resent"`
}

// run begins each call when it is due, whatever became of those before, and reports when all have ended.
func (c *caller) run(run run, answer func(any) error) error {
	offsets, err := run.Pacing.offsets()
	if err != nil {
		return err
	}
	attempts := c.attempts.Load()
	cpu := clock(unix.CLOCK_PROCESS_CPUTIME_ID)
	// Room for every record: a call never waits to hand in its own.
	done := make(chan record, len(offsets))
	startNS, start := clock(unix.CLOCK_MONOTONIC), time.Now()
	go func() {
		for index, scheduled := range offsets {
			time.Sleep(scheduled - time.Since(start))
			go func() { done <- c.recorded(run.FirstID+uint64(index), scheduled, start) }()
		}
	}()

	records := make([]record, 0, len(offsets))
	progress := time.NewTicker(progressPeriod)
	defer progress.Stop()
	for len(records) < len(offsets) {
		select {
		case record := <-done:
			records = append(records, record)
		case <-progress.C:
			if err := answer(map[string]int{"Progress": len(records)}); err != nil {
				return err
			}
		}
	}
	cpu = clock(unix.CLOCK_PROCESS_CPUTIME_ID) - cpu
	for len(records) > 0 {
		some := records[:min(len(records), recordsPerLine)]
		records = records[len(some):]
		if err := answer(map[string][]record{"Calls": some}); err != nil {
			return err
		}
	}
	opened, goaways := c.opened.Load(), c.goaways.Load()
	totals := totals{
		StartNS:           startNS,
		CPU:               spoken(time.Duration(cpu)),
		ConnectionsOpened: opened - c.told.opened,
		GoawaysSeen:       goaways - c.told.goaways,
		Attempts:          c.attempts.Load() - attempts,
	}
	c.told.opened, c.told.goaways = opened, goaways
	return answer(map[string]any{"Done": totals})
}

func (c *caller) recorded(id uint64, scheduled time.Duration, start time.Time) record {
	started := time.Since(start)
	backend, failed := c.call(withID(id))
	end := map[string]any{"Answered": backend}
	if failed != nil {
		end = map[string]any{"Failed": map[string]any{"code": failed.Code, "hint": failed.Hint}}
	}
	return record{id, scheduled.Nanoseconds(), started.Nanoseconds(), time.Since(start).Nanoseconds(), end}
}

// clock reads a clock that every process of this machine reads alike; a time.Time hides its monotonic part.
func clock(id int32) int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(id, &now) // These clocks always exist.
	return now.Nano()
}

const (
	progressPeriod = 200 * time.Millisecond
	recordsPerLine = 1000
)
