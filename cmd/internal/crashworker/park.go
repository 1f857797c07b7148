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

	mu      sync.Mutex
	watched map[string]bool // true: not in the inbox yet
	missing int
	parked  map[string]bool
	over    bool
}

func newPark(watch []string, out io.Writer) *park {
	p := &park{
		out: out, goOn: make(chan struct{}), all: make(chan struct{}),
		watched: map[string]bool{}, parked: map[string]bool{}, missing: len(watch),
	}
	for _, key := range watch {
		p.watched[key] = true
	}
	if p.missing == 0 {
		close(p.all)
	}
	return p
}

func (p *park) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		close(p.goOn)
	}
}

// arrived notes what is in the inbox now.
func (p *park) arrived(keys []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		if p.watched[key] {
			p.watched[key] = false
			if p.missing--; p.missing == 0 {
				close(p.all)
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
