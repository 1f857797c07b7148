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
	backstage                // what happens to the worker
)

type mood int

// The moods of a line.
const (
	plain mood = iota
	good
	bad
	wait
)

// A board is what everybody knows of the shops. All views read it.
type board struct {
	mu          sync.Mutex
	start       time.Time
	shops       []*shop
	byID        map[string]*shop
	lines       []line
	deadLetters int
	told        map[string]bool // requests of the sandbox's log, by request id
	onLine      func(line)      // for --plain; called under the lock
	killedAt    time.Time       // of the worker; zero: not yet
	spotlight   *shop           // whose story is shown
	lit         time.Time       // since when
}

func newBoard(shops []*shop) *board {
	b := &board{start: time.Now(), shops: shops, byID: map[string]*shop{}, told: map[string]bool{}}
	for _, s := range shops {
		b.byID[s.id] = s
	}
	return b
}

// tell adds a line. The caller holds the lock.
func (b *board) tell(f feed, shop, text string, m mood) {
	l := line{at: time.Since(b.start), feed: f, shop: shop, text: text, mood: m}
	b.lines = append(b.lines, l)
	if b.onLine != nil {
		b.onLine(l)
	}
}

// report tells what happens to the worker.
func (b *board) report(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tell(backstage, "", text, wait)
}

// timeToKill says that the show is well under way, and that an activation is on
// the wire: the hardest moment.
func (b *board) timeToKill(requests []sandbox.Request) bool {
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
func (b *board) killed(requests []sandbox.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killedAt = time.Now()
	n := 0
	for _, q := range requests {
		if s := b.owner(q.Subject); s != nil && b.wasCut(q) {
			s.cut = true
			n++
			b.light(s)
		}
	}
	b.tell(backstage, "", fmt.Sprintf("the worker is KILLED with %s under way", counted(n, "call")), bad)
}

// wasCut says whether a request was under way when the worker died. The two
// clocks are one; what had just been answered may not have been read.
func (b *board) wasCut(q sandbox.Request) bool {
	const unread = 50 * time.Millisecond
	return !b.killedAt.IsZero() && q.Time.Before(b.killedAt) && (q.Pending || q.Answered.After(b.killedAt.Add(-unread)))
}

// light makes a shop's story the one that is shown, for a while.
func (b *board) light(s *shop) {
	const least = 2 * time.Second
	if s == nil || b.spotlight == s || b.spotlight != nil && time.Since(b.lit) < least {
		return
	}
	b.spotlight, b.lit = s, time.Now()
}

// done tells whether every story has ended.
func (b *board) done() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.shops {
		if s.step != ended {
			return false
		}
	}
	return b.deadLetters > 0
}

// A wish is what a shop does next, decided by what it was told.
type wish int

const (
	nothing wish = iota
	enterCode
)

// hear takes a published event and returns what its shop does about it.
func (b *board) hear(e schemas.Event) (*shop, wish) {
	b.mu.Lock()
	defer b.mu.Unlock()
	short := strings.TrimPrefix(e.Type, "shop.invoicebox_")
	if d, ok := e.Data.(schemas.DeadLetter); ok {
		b.deadLetters++
		b.tell(published, "", fmt.Sprintf("%s: %s at offset %d", short, d.Reason, d.Offset), bad)
		return nil, nothing
	}
	s := b.byID[e.Subject]
	if s == nil {
		return nil, nothing
	}
	s.events++
	s.waits = false
	if s.fate.name != fates[0].name {
		defer b.light(s)
	}
	switch d := e.Data.(type) {
	case schemas.Invited:
		b.tell(published, s.id, short+" ("+string(d.Outcome)+")", good)
		if s.step == selected {
			s.step = invited
			return s, enterCode
		}
	case schemas.InvitationFailed:
		b.tell(published, s.id, short+": "+string(d.Reason), bad)
		s.reason = d.Reason
		s.finish(failed(d.Final))
	case schemas.Activated:
		b.tell(published, s.id, short+" ("+string(d.Verification)+")", good)
		s.ref = d.Credentials.Ref
		s.finish(activated)
	case schemas.ActivationFailed:
		b.tell(published, s.id, short+": "+string(d.Reason)+", "+string(d.Action), bad)
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
func (b *board) watch(requests []sandbox.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, q := range requests {
		if q.Pending || b.told[q.RequestID] {
			continue
		}
		b.told[q.RequestID] = true
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
		b.tell(calls, id, text, m)
		if m != good {
			b.light(s)
		}
	}
}

// owner finds the shop that an address or a code belongs to.
func (b *board) owner(subject string) *shop {
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
