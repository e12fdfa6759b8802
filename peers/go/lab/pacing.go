package main

import (
	"errors"
	"math/rand/v2"
	"time"
)

// pacing says when each call is due: exactly one of its parts.
type pacing struct {
	Burst *struct {
		Calls int `json:"calls"`
	}
	Constant *steady
	Poisson  *struct {
		steady
		Seed uint64 `json:"seed"`
	}
	Steps *struct {
		Rates []float64 `json:"rates"`
		Each  duration  `json:"each"`
	}
}

type steady struct {
	Rate   float64  `json:"rate"`
	Length duration `json:"length"`
}

// offsets returns when calls are due, from the start of the run, in order.
func (p pacing) offsets() ([]time.Duration, error) {
	switch {
	case p.Burst != nil:
		return make([]time.Duration, p.Burst.Calls), nil
	case p.Constant != nil:
		return constant(0, p.Constant.Rate, p.Constant.Length.value()), nil
	case p.Poisson != nil:
		// Arrivals of the same kind as those of the lab's own clients, not the very same: the generators differ.
		random := rand.New(rand.NewPCG(p.Poisson.Seed, 0))
		var offsets []time.Duration
		for at := 0.0; ; {
			at += random.ExpFloat64() / p.Poisson.Rate
			offset := time.Duration(at * float64(time.Second))
			if offset >= p.Poisson.Length.value() {
				return offsets, nil
			}
			offsets = append(offsets, offset)
		}
	case p.Steps != nil:
		var offsets []time.Duration
		for step, rate := range p.Steps.Rates {
			each := p.Steps.Each.value()
			offsets = append(offsets, constant(time.Duration(step)*each, rate, each)...)
		}
		return offsets, nil
	}
	return nil, errors.New("a pacing that is not known here")
}

func constant(from time.Duration, rate float64, length time.Duration) []time.Duration {
	var offsets []time.Duration
	for n := 0; ; n++ {
		offset := time.Duration(float64(n) / rate * float64(time.Second))
		if offset >= length {
			return offsets
		}
		offsets = append(offsets, from+offset)
	}
}
