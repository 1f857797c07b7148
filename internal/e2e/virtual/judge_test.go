package virtual

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A judge looks at the end of a run from outside: at what the sandbox was asked
// and did, at the topics, and at what the journal says it knows.
type judge struct {
	*world
	story   *story
	journal journal.Journal

	history  map[string]journal.ShopHistory
	output   map[uuid.UUID]journal.OutputRecord // by event
	requests []sandbox.Request
	results  map[string][]kafkago.Message // by type
	events   map[uuid.UUID][]schemas.Event
	byCode   map[string]*subject
}

// A subject is all that is known of one code or address.
type subject struct {
	shop     string
	kind     journal.Kind
	requests []sandbox.Request
	effects  int
}

func (w *world) judge(s *story) {
	w.Helper()
	w.look(func(j journal.Journal) {
		g := &judge{world: w, story: s, journal: j, history: map[string]journal.ShopHistory{}, results: map[string][]kafkago.Message{},
			output: map[uuid.UUID]journal.OutputRecord{}, events: map[uuid.UUID][]schemas.Event{}, byCode: map[string]*subject{}}
		g.collect()
		g.inputs()
		g.windows()
		g.requestsPerValue()
		g.lanes()
		g.ends()
		g.published()
		g.references()
		g.answers()
	})
}

func (g *judge) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

func (g *judge) collect() {
	ctx := context.Background()
	for _, shop := range g.story.shops {
		h, err := g.journal.Shop(ctx, journal.ShopKey{Account: account, Shop: shop})
		if err != nil && !strings.Contains(err.Error(), "not found") {
			g.Fatal(err)
		}
		g.history[shop] = h
		for _, o := range h.Output {
			g.output[o.Event] = o
		}
	}
	g.requests = g.box.Requests()
	for _, r := range g.requests {
		if r.Operation != sandbox.Invite && r.Operation != sandbox.Activate {
			continue
		}
		t := g.byCode[r.Subject]
		if t == nil {
			t = &subject{shop: shopOf(r.Subject), kind: journal.Invite}
			if r.Operation == sandbox.Activate {
				t.kind = journal.Activate
			}
			g.byCode[r.Subject] = t
		}
		t.requests = append(t.requests, r)
		if r.Effect {
			t.effects++
		}
	}
	for _, typ := range schemas.OutputTypes() {
		g.results[typ] = g.kafka.ReadAll(g.T, typ)
	}
}

// shopOf gives the shop of an address or a code of a story.
func shopOf(value string) string {
	i := strings.Index(value, "shop-")
	return value[i : i+len("shop-00")]
}

// inputs: every record is in the inbox, a dead letter, or ignored; once.
func (g *judge) inputs() {
	ctx := context.Background()
	expected := map[string]bool{}
	letters := map[string]bool{}
	records := 0
	for _, topic := range schemas.InputTypes() {
		for _, m := range g.kafka.ReadAll(g.T, topic) {
			records++
			switch header(m, kind) {
			case taken:
				expected[header(m, "ce_id")] = true
			case dead:
				letters[fmt.Sprint(m.Topic, "/", m.Partition, "/", m.Offset)] = true
			}
		}
	}
	known := map[string]int{}
	for _, h := range g.history {
		for _, e := range h.Events {
			known[e.ID]++
		}
	}
	for id := range expected {
		if known[id] != 1 {
			g.Errorf("event %s is %d times in the inbox", id, known[id])
		}
		delete(known, id)
	}
	for id := range known {
		g.Errorf("event %s is in the inbox and was never sent so", id)
	}
	list, err := g.journal.DeadLetters(ctx, journal.DeadLetterFilter{Limit: 1000})
	g.must(err)
	for _, l := range list {
		place := fmt.Sprint(l.Topic, "/", l.Partition, "/", l.Offset)
		if !letters[place] {
			g.Errorf("%s is a dead letter (%s), and should not be, or is one twice", place, l.Reason)
		}
		delete(letters, place)
	}
	for place := range letters {
		g.Errorf("%s is no dead letter", place)
	}
	ps, err := g.journal.Positions(ctx)
	g.must(err)
	next := map[string]int64{}
	for _, p := range ps {
		next[fmt.Sprint(p.Topic, "/", p.Partition)] = p.Next
	}
	for _, topic := range schemas.InputTypes() {
		committed := g.kafka.Committed(g.T, group, topic)
		for _, p := range g.kafka.Offsets(g.T, topic) {
			if at := next[fmt.Sprint(topic, "/", p.Partition)]; at != p.Next || committed[p.Partition] > at {
				g.Errorf("%s/%d: position %d, committed %d, end %d", topic, p.Partition, at, committed[p.Partition], p.Next)
			}
		}
	}
}

// windows: the limit is kept by the sandbox's count, and by ours before it.
func (g *judge) windows() {
	windows := g.box.Windows()
	for _, l := range slices.Concat(windows.Accounts, windows.IPs) {
		if l.Over != 0 || l.Limited != 0 || l.Limit > 0 && l.Most > l.Limit {
			g.Errorf("a limit was broken: %+v", l)
		}
	}
}

// requestsPerValue: one request for each run, one more for each that was
// provably not executed, and those that are flagged; and each of them was in
// the journal before it was sent.
func (g *judge) requestsPerValue() {
	if n := g.box.Effects().Overlaps; n != 0 {
		g.Errorf("%d requests for one value were under way at once", n)
	}
	attempts := map[string][]journal.AttemptRecord{}
	for shop, h := range g.history {
		for _, o := range h.Operations {
			for _, a := range o.Tries {
				if a.End == nil || !a.End.NotSent {
					key := fmt.Sprint(shop, "/", o.Kind)
					attempts[key] = append(attempts[key], a)
				}
			}
		}
	}
	seen := map[string]int{}
	for value, t := range g.byCode {
		seen[fmt.Sprint(t.shop, "/", t.kind)] += len(t.requests)
		inDoubt, unknown := 0, 0
		for i := range t.requests[1:] {
			switch t.requests[i].Status {
			case 429, 425, 401: // provably not executed
			case 408, 503:
				inDoubt++
			default:
				unknown++
			}
		}
		runs, flagged := g.accounted(t)
		if unknown > runs || inDoubt+unknown > flagged+runs-1 {
			g.Errorf("%s: in %d runs %d requests after one that may have been executed, %d after a doubtful one, %d flagged:%s",
				value, runs, unknown, inDoubt, flagged, words(t.requests))
		}
		if t.kind == journal.Activate && t.effects > 1 {
			g.Errorf("%s was spent %d times", value, t.effects)
		}
	}
	for value := range g.story.crossed {
		// Nobody outside can tell whose request that was.
		delete(seen, g.story.codes[value]+"/activate")
	}
	for key, n := range seen {
		if n > len(attempts[key]) {
			g.Errorf("%s: %d requests and %d attempts in the journal", key, n, len(attempts[key]))
		}
	}
}

// accounted gives the runs of the operations that a value's requests were made
// for, and how many of their attempts were flagged as made in doubt. Each run
// may make a request of its own, and there is one probe in an operation's life.
// Where no request can be told to be an operation's, all of the shop's count.
func (g *judge) accounted(t *subject) (runs, flagged int) {
	var mine, all []journal.OperationDetail
	for shop, h := range g.history {
		for _, o := range h.Operations {
			if o.Kind != t.kind {
				continue
			}
			if shop == t.shop {
				all = append(all, o)
			}
			if g.mine(o, t) {
				mine = append(mine, o)
			}
		}
	}
	if len(mine) == 0 {
		mine = all
	}
	for _, o := range mine {
		runs += o.Run
		for _, a := range o.Tries {
			if a.Flagged && (a.End == nil || !a.End.NotSent) {
				flagged++
			}
		}
	}
	return runs, flagged
}

func words(list []sandbox.Request) string {
	var b strings.Builder
	for _, r := range list[:min(len(list), 8)] {
		fmt.Fprintf(&b, " [%s %d %s effect=%t took %v]", r.Time.Format("15:04:05.000"), r.Status, r.Fault, r.Effect, r.Took.Round(time.Millisecond))
	}
	return b.String()
}

// lanes: the requests of one shop never overlap.
func (g *judge) lanes() {
	last := map[string]sandbox.Request{}
	for _, r := range g.requests {
		if r.Operation != sandbox.Invite && r.Operation != sandbox.Activate {
			continue
		}
		if g.story.crossed[r.Subject] {
			continue
		}
		shop := shopOf(r.Subject)
		if before, ok := last[shop]; ok && (before.Pending || r.Time.Before(before.Time.Add(before.Took))) {
			g.Errorf("%s: two requests at once:%s", shop, words([]sandbox.Request{before, r}))
		}
		last[shop] = r
	}
}

// ends: every operation ends in an event, in attention with the event that its
// reason asks for, or superseded; and never with a wrong word about a code
// that was spent.
func (g *judge) ends() {
	for shop, h := range g.history {
		for _, o := range h.Operations {
			said := map[string]bool{}
			for _, out := range o.Output {
				said[out.Type] = true
			}
			where := fmt.Sprintf("%s: %v in %v for %q", shop, o.Kind, o.State, o.Reason)
			switch o.State {
			case journal.Done:
				if len(o.Output) == 0 {
					g.Errorf("%s has no event", where)
				}
			case journal.Attention:
				if asks := failureOf(o.Reason); asks != "" && !g.says(o, asks) {
					g.Errorf("%s has no event for it: %v", where, said)
				}
			case journal.Superseded:
			default:
				g.Errorf("%s has not ended", where)
			}
			if o.State == journal.Done && o.Kind == journal.Activate && !said[schemas.TypeActivated] {
				for value, t := range g.byCode {
					if t.kind == o.Kind && t.effects > 0 && g.mine(o, t) {
						g.Errorf("%s, and the code %s was spent:%s", where, value, words(t.requests))
					}
				}
			}
		}
		if len(h.Events) > 0 && len(h.Output) == 0 && len(h.Operations) == 0 {
			g.Errorf("%s: nothing came of %d events", shop, len(h.Events))
		}
	}
}

// mine tells whether the requests of a subject are an operation's, by their ids.
func (g *judge) mine(o journal.OperationDetail, t *subject) bool {
	for _, a := range o.Tries {
		for _, r := range t.requests {
			if a.End != nil && a.End.RequestID == r.RequestID {
				return true
			}
		}
	}
	return false
}

func failureOf(reason string) schemas.FailureReason {
	for _, row := range onboarding.AttentionRows() {
		if string(row.Reason) == reason {
			return row.Failure
		}
	}
	return ""
}

func (g *judge) says(o journal.OperationDetail, reason schemas.FailureReason) bool {
	for _, out := range o.Output {
		if strings.Contains(string(out.Value), `"`+string(reason)+`"`) {
			return true
		}
	}
	return false
}
