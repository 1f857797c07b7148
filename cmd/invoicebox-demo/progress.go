package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A line is something that happened, for the feeds of the view and for --plain.
type line struct {
	at   time.Duration // since the start
	feed feed
	shop string
	text string
	mood mood
}

type feed int

// The feeds.
const (
	fromPlatform feed = iota // events in
	calls                    // requests to Invoicebox
	published                // events out
	fromWorker               // what happens to the worker
)

type mood int

// The moods of a line.
const (
	plain mood = iota
	good
	bad
	wait
)

// progress is what is known of the shops. All views read it.
type progress struct {
	mu            sync.Mutex
	start         time.Time
	shops         []*shop
	byID          map[string]*shop
	lines         []line
	deadLetters   int
	seen          map[string]bool // requests of the sandbox's log, by request id
	onLine        func(line)      // for --plain; called under the lock
	killedAt      time.Time       // of the worker; zero: not yet
	featured      *shop           // the shop that is shown
	featuredSince time.Time       // since when
}

func newProgress(shops []*shop) *progress {
	b := &progress{start: time.Now(), shops: shops, byID: map[string]*shop{}, seen: map[string]bool{}}
	for _, s := range shops {
		b.byID[s.id] = s
	}
	return b
}

// add adds a line. The caller holds the lock.
func (b *progress) add(f feed, shop, text string, m mood) {
	l := line{at: time.Since(b.start), feed: f, shop: shop, text: text, mood: m}
	b.lines = append(b.lines, l)
	if b.onLine != nil {
		b.onLine(l)
	}
}

// report adds a line about the worker.
func (b *progress) report(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(fromWorker, "", text, wait)
}

// timeToKill reports that the demo is well under way, and that an activation is on
// the wire: the hardest moment.
func (b *progress) timeToKill(requests []sandbox.Request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	came := 0
	for _, s := range b.shops {
		if s.step != waiting {
			came++
		}
	}
	if 5*came < 2*len(b.shops) {
		return false
	}
	for _, q := range requests {
		if q.Pending && q.Operation == sandbox.Activate && time.Since(q.Time) > 30*time.Millisecond {
			return true
		}
	}
	return false
}

// killed notes whose calls the dead worker had under way.
func (b *progress) killed(requests []sandbox.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killedAt = time.Now()
	n := 0
	for _, q := range requests {
		if s := b.owner(q.Subject); s != nil && b.wasCut(q) {
			s.cut = true
			n++
			b.feature(s)
		}
	}
	b.add(fromWorker, "", fmt.Sprintf("the worker is KILLED with %s under way", counted(n, "call")), bad)
}

// wasCut says whether a request was under way when the worker died. The two
// clocks are one; what had just been answered may not have been read.
func (b *progress) wasCut(q sandbox.Request) bool {
	const unread = 50 * time.Millisecond
	return !b.killedAt.IsZero() && q.Time.Before(b.killedAt) && (q.Pending || q.Answered.After(b.killedAt.Add(-unread)))
}

// feature makes a shop the one that is shown, for a while.
func (b *progress) feature(s *shop) {
	const least = 2 * time.Second
	if s == nil || b.featured == s || b.featured != nil && time.Since(b.featuredSince) < least {
		return
	}
	b.featured, b.featuredSince = s, time.Now()
}

// done reports whether every shop has ended.
func (b *progress) done() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.shops {
		if s.step != ended {
			return false
		}
	}
	return b.deadLetters > 0
}

// A reaction is what a shop does after an event.
type reaction int

const (
	nothing reaction = iota
	enterCode
)

// receive takes a published event and returns what its shop does about it.
func (b *progress) receive(e schemas.Event) (*shop, reaction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	short := strings.TrimPrefix(e.Type, "shop.invoicebox_")
	if d, ok := e.Data.(schemas.DeadLetter); ok {
		b.deadLetters++
		b.add(published, "", fmt.Sprintf("%s: %s at offset %d", short, d.Reason, d.Offset), bad)
		return nil, nothing
	}
	s := b.byID[e.Subject]
	if s == nil {
		return nil, nothing
	}
	s.events++
	s.waits = false
	if s.scenario.name != scenarios[0].name {
		defer b.feature(s)
	}
	switch d := e.Data.(type) {
	case schemas.Invited:
		b.add(published, s.id, short+" ("+string(d.Outcome)+")", good)
		if s.step == selected {
			s.step = invited
			return s, enterCode
		}
	case schemas.InvitationFailed:
		b.add(published, s.id, short+": "+string(d.Reason), bad)
		s.reason = d.Reason
		s.finish(failed(d.Final))
	case schemas.Activated:
		b.add(published, s.id, short+" ("+string(d.Verification)+")", good)
		s.ref = d.Credentials.Ref
		s.finish(activated)
	case schemas.ActivationFailed:
		b.add(published, s.id, short+": "+string(d.Reason)+", "+string(d.Action), bad)
		s.reason = d.Reason
		if s.cut && d.Reason == schemas.FailureOutcomeLost && s.extra == 0 {
			s.extra = 1 // its answer died with the worker
		}
		if d.Action == schemas.ActionRequestNewCode && s.entered < s.codes() {
			return s, enterCode
		}
		s.finish(failed(d.Final))
	}
	return s, nothing
}

func failed(final bool) ending {
	if final {
		return refused
	}
	return attention
}

func (s *shop) finish(e ending) { s.step, s.end = ended, e }

// watch copies what is new in the sandbox's log of requests to the feed.
func (b *progress) watch(requests []sandbox.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range requests {
		if q.Pending || b.seen[q.RequestID] {
			continue
		}
		b.seen[q.RequestID] = true
		s := b.owner(q.Subject)
		if s == nil && q.Operation != "check" {
			continue
		}
		id := ""
		if s != nil {
			s.calls++
			s.waits = q.Status == 429 || q.Status == 503 || q.Status == 408
			id = s.id
			if q.Fault != "" && q.Fault != "limit" && !strings.HasPrefix(q.Subject, q.Fault) {
				s.unlucky = true
			}
		}
		text, m := fmt.Sprintf("%s → %d", q.Operation, q.Status), good
		switch {
		case s != nil && b.wasCut(q):
			s.cut = true
			text, m = fmt.Sprintf("%s → worker is dead", q.Operation), bad
		case q.Status == 0:
			text, m = fmt.Sprintf("%s → no answer", q.Operation), bad
		case q.Status == 429 || q.Status == 503 || q.Status == 408:
			m = wait
		case q.Status >= 400:
			m = bad
		}
		b.add(calls, id, text, m)
		if m != good {
			b.feature(s)
		}
	}
}

// owner finds the shop that an address or a code belongs to.
func (b *progress) owner(subject string) *shop {
	i := strings.Index(subject, "shop-")
	if i < 0 {
		return nil
	}
	end := i + len("shop-")
	for end < len(subject) && subject[end] >= '0' && subject[end] <= '9' {
		end++
	}
	return b.byID[subject[i:end]]
}
