package main

import (
	"context"
	"fmt"
)

var feedNames = map[feed]string{fromPlatform: "platform", calls: "call", published: "event", fromWorker: "worker"}

// runPlain writes a line for everything that happens, for pipes.
func runPlain(ctx context.Context, w *output, b *progress, _ *environment, f flags) (departure, error) {
	_, _ = fmt.Fprintf(w, "invoicebox-demo: %d shops, profile %s, seed %d, at most %d calls in %v\n", len(b.shops), f.Profile, f.Seed, limit, window)
	b.mu.Lock()
	seen, before := map[*shop]bool{}, b.lines
	show := func(l line) {
		shop := l.shop
		if shop == "" {
			shop = "-"
		}
		_, _ = fmt.Fprintf(w, "%6.2fs  %-8s  %-8s  %s\n", l.at.Seconds(), feedNames[l.feed], shop, l.text)
		if s := b.byID[l.shop]; s != nil && !seen[s] {
			seen[s] = true
			_, _ = fmt.Fprintf(w, "         %s: %s\n", s.scenario.name, s.scenario.description)
		}
	}
	for _, l := range before {
		show(l)
	}
	b.onLine = show
	b.mu.Unlock()
	<-ctx.Done()
	b.mu.Lock()
	b.onLine = nil
	b.mu.Unlock()
	return stayed, nil
}
