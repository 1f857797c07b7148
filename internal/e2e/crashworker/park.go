package main

import (
	"context"
	"fmt"
	"io"
	"sync"

	"invoicebox-worker/internal/journal"
)

// keyOf names an operation of a shop as the settings do.
func keyOf(kind journal.Kind, shop journal.ShopKey) string { return kind.String() + "/" + shop.Shop }

// A park is where operations stop.
type park struct {
	out  io.Writer
	goOn chan struct{} // closed: nothing is parked any more
	all  chan struct{} // closed: all that is watched is in the inbox

	shared bool // that is told by whoever runs the program

	mu      sync.Mutex
	watched map[string]bool // true: not in the inbox yet
	missing int
	parked  map[string]bool
	over    bool
	begun   bool // all is closed
}

func newPark(watch []string, shared bool, out io.Writer) *park {
	p := &park{
		out: out, goOn: make(chan struct{}), all: make(chan struct{}),
		watched: map[string]bool{}, parked: map[string]bool{}, missing: len(watch), shared: shared,
	}
	for _, key := range watch {
		p.watched[key] = true
	}
	if p.missing == 0 {
		p.begin()
	}
	return p
}

// say prints a line.
func (p *park) say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, line)
}

// begin gives work free.
func (p *park) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free()
}

func (p *park) free() {
	if !p.begun {
		p.begun = true
		close(p.all)
	}
}

func (p *park) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		close(p.goOn)
		if p.shared {
			p.free()
		}
	}
}

// arrived notes what is in the inbox now.
func (p *park) arrived(keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		if p.watched[key] {
			p.watched[key] = false
			if p.missing--; p.missing == 0 && !p.shared {
				p.free()
			}
		}
	}
}

// stop holds its caller until the park is released, if any of the keys is
// watched and was never parked.
func (p *park) stop(keys ...string) {
	held := false
	p.mu.Lock()
	for _, key := range keys {
		if _, watched := p.watched[key]; watched && !p.parked[key] && !p.over {
			held, p.parked[key] = true, true
			fmt.Fprintln(p.out, "parked", key)
		}
	}
	p.mu.Unlock()
	if held {
		<-p.goOn
	}
}

// wait holds its caller until the park is released, or ctx ends.
func (p *park) wait(ctx context.Context) {
	select {
	case <-p.goOn:
	case <-ctx.Done():
	}
}
