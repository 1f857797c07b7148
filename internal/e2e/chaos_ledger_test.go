package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// A fate is what became of one matter.
type fate struct {
	*matter
	line     string // its one line of the ledger
	op       *journal.OperationDetail
	asked    int // operations: more than one only of a code of another shop, one for each event
	requests []request
	effects  int // e-mails, or the code's being spent
	events   []published
}

// A request is one of the sandbox's, as its admin endpoint tells it.
type request struct {
	Time      time.Time `json:"time"`
	Answered  time.Time `json:"answered"`
	Operation string    `json:"operation"`
	Subject   string    `json:"subject"`
	Status    int       `json:"status"`
	Effect    bool      `json:"effect"`
	Fault     string    `json:"fault"`
	Pending   bool      `json:"pending"`
}

// A published is one record of a result topic.
type published struct {
	schemas.Event
	raw kafkago.Message
}

// A book holds all that is known when everything has ended.
type book struct {
	*chaosRig
	world     *world
	inputs    inputs
	fates     []*fate
	results   map[string][]published // by type, each id once
	repeats   int                    // records of result topics beyond the first with their id
	letters   map[string]bool        // dead letters in the journal, by place
	effects   map[string]int         // by subject
	merchants map[string]string      // by code
	requests  map[string][]request   // by subject
	windows   windows
	accepted  map[string]string // place of each inbox row → event id
}

// windows are the sandbox's count against the limits.
type windows struct {
	Accounts []load `json:"accounts"`
	IPs      []load `json:"ips"`
}

type load struct {
	Limit    int `json:"limit"`
	Requests int `json:"requests"`
	Most     int `json:"most"`
	Over     int `json:"over"`
	Limited  int `json:"limited"`
}

// inputs says of every record of the input topics where it must have ended.
type inputs struct {
	accepted                  map[string]string // place → event id
	dead                      map[string]bool   // place
	records, repeated, reused int
	ignored                   int
}

func placeOf(topic string, partition int, offset int64) string {
	return fmt.Sprint(topic, "/", partition, "/", offset)
}

// ledger opens the book, judges it and prints it.
func (r *chaosRig) ledger(w *world, done *counter) {
	r.t.Helper()
	b := &book{chaosRig: r, world: w}
	b.inputs = b.readInputs()
	b.readResults()
	b.readSandbox()
	b.readJournal()
	b.judgeInputs()
	b.judgeEnds()
	b.judgeRequests()
	b.judgeShops()
	b.judgeTokens()
	b.judgeAttention()
	b.judgeWindows()
	b.print(done)
}

// readInputs reads back what the brokers hold: what was written is what counts,
// not what the platform wanted to write.
func (b *book) readInputs() inputs {
	in := inputs{accepted: map[string]string{}, dead: map[string]bool{}}
	for _, typ := range schemas.InputTypes() {
		first := map[string]string{} // id → content
		for _, m := range b.cluster.ReadAll(b.t, b.topics[typ]) {
			at, id := placeOf(m.Topic, m.Partition, m.Offset), headerOf(m, "ce_id")
			in.records++
			content, known := first[id]
			switch mark := headerOf(m, markHeader); {
			case mark == markOther, mark == markTombstone:
				in.ignored++
			case mark == markBad:
				in.dead[at] = true
			case !known:
				first[id] = string(m.Value)
				in.accepted[at] = id
			case content == string(m.Value):
				in.repeated++
			default:
				in.reused++
				in.dead[at] = true
			}
		}
	}
	return in
}

func headerOf(m kafkago.Message, key string) string {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// readResults reads the result topics and finds records that differ under one id.
func (b *book) readResults() {
	b.results = map[string][]published{}
	for _, typ := range schemas.OutputTypes() {
		seen, highest := map[string]string{}, map[string]int64{}
		for _, m := range b.cluster.ReadAll(b.t, b.topics[typ]) {
			e, err := schemas.DecodeOutput(fromKafka(m), schemas.Strict)
			if err != nil {
				b.t.Errorf("%s partition %d offset %d: %v", m.Topic, m.Partition, m.Offset, err)
				continue
			}
			whole := fmt.Sprintf("%q %q %q", m.Key, m.Headers, m.Value)
			if first, ok := seen[e.ID]; ok {
				b.repeats++
				if first != whole {
					b.t.Errorf("%s %s was published with two contents", typ, e.ID)
				}
				continue
			}
			seen[e.ID] = whole
			if typ != schemas.TypeDeadLetter && e.Sequence <= highest[e.Subject] {
				b.t.Errorf("%s of shop %s: sequence %d after %d", typ, e.Subject, e.Sequence, highest[e.Subject])
			}
			highest[e.Subject] = e.Sequence
			b.results[typ] = append(b.results[typ], published{e, m})
		}
	}
}

func (b *book) readSandbox() {
	var effects struct {
		Invitations []struct {
			Identifier string `json:"identifier"`
			Effects    int    `json:"effects"`
		} `json:"invitations"`
		Activations []struct {
			Code       string `json:"code"`
			Effects    int    `json:"effects"`
			MerchantID string `json:"merchantId"`
		} `json:"activations"`
	}
	b.ask("/effects", &effects)
	b.effects, b.merchants = map[string]int{}, map[string]string{}
	for _, i := range effects.Invitations {
		b.effects[i.Identifier] = i.Effects
	}
	for _, a := range effects.Activations {
		b.effects[a.Code], b.merchants[a.Code] = a.Effects, a.MerchantID
	}
	var list []request
	b.ask("/requests", &list)
	b.requests = map[string][]request{}
	for _, q := range list {
		if q.Operation == "invite" || q.Operation == "activate" {
			b.requests[q.Subject] = append(b.requests[q.Subject], q)
		}
	}
	b.ask("/windows", &b.windows)
}

// readJournal finds the one operation of every matter.
func (b *book) readJournal() {
	j := b.openJournal()
	defer func() { _ = j.Close() }()
	b.accepted, b.letters = map[string]string{}, map[string]bool{}
	ops := map[uuid.UUID]*journal.OperationDetail{}
	begun := map[*matter][]*journal.OperationDetail{} // begun by an event of the matter
	exits := map[*matter]map[string]bool{}
	for _, key := range b.world.order {
		h, err := j.Shop(b.t.Context(), key)
		if err != nil {
			continue // a shop of which nothing was taken in
		}
		for i := range h.Operations {
			op := &h.Operations[i]
			ops[op.UUID] = op
			if m := b.world.byID[op.Event]; m != nil {
				begun[m] = append(begun[m], op)
			} else {
				b.t.Errorf("an operation of shop %s began with event %q, which is no event of ours", key.Shop, op.Event)
			}
		}
		for _, e := range h.Events {
			b.accepted[placeOf(e.Topic, e.Partition, e.Offset)] = e.ID
			m := b.world.byID[e.ID]
			if m == nil {
				b.t.Errorf("the inbox holds event %q, which is none of ours", e.ID)
				continue
			}
			if exits[m] == nil {
				exits[m] = map[string]bool{}
			}
			exits[m][e.Exit] = true
		}
	}
	for before := int64(0); ; {
		page, err := j.DeadLetters(b.t.Context(), journal.DeadLetterFilter{Before: before, Limit: 1000})
		if err != nil {
			b.t.Fatal(err)
		}
		for _, l := range page {
			b.letters[placeOf(l.Topic, l.Partition, l.Offset)] = true
			before = l.ID
		}
		if len(page) < 1000 {
			break
		}
	}
	b.assign(begun, exits)
}

// assign gives every matter its line, and to that what belongs to it.
func (b *book) assign(begun map[*matter][]*journal.OperationDetail, exits map[*matter]map[string]bool) {
	byOperation := map[string][]published{}
	for _, list := range b.results {
		for _, p := range list {
			byOperation[p.OperationID] = append(byOperation[p.OperationID], p)
		}
	}
	// A code of another shop is not sent; its operation is superseded when the shop
	// becomes active by a code of its own.
	foreign := func(op *journal.OperationDetail) bool {
		return op.Reason == string(schemas.FailureCodeOfOtherShop) || op.State == journal.Superseded &&
			slices.ContainsFunc(byOperation[op.UUID.String()], func(p published) bool {
				failed, ok := p.Data.(schemas.ActivationFailed)
				return ok && failed.Reason == schemas.FailureCodeOfOtherShop
			})
	}
	owned := map[string]*matter{}
	for _, m := range b.world.matters {
		f := &fate{matter: m}
		b.fates = append(b.fates, f)
		switch list := begun[m]; {
		case len(exits[m]) == 0:
			b.t.Errorf("%s of shop %s: none of its events is in the inbox", m.kind, m.shop.Shop)
		case len(list) == 0:
			f.line = "no operation: " + strings.Join(slices.Sorted(maps.Keys(exits[m])), ", ")
			continue
		default:
			f.op, f.asked = list[0], len(list)
			f.line = f.op.State.String() + ": " + f.op.Reason
			for _, op := range list {
				f.events = append(f.events, byOperation[op.UUID.String()]...)
				if f.asked > 1 && !foreign(op) {
					b.t.Errorf("%s of shop %s has %d operations", m.kind, m.shop.Shop, len(list))
				}
			}
		}
		if f.op == nil {
			continue
		}
		if foreign(f.op) {
			f.line = f.op.State.String() + ": " + string(schemas.FailureCodeOfOtherShop)
			continue
		}
		if other := owned[m.subject]; other != nil {
			b.t.Errorf("shops %s and %s both own one subject", other.shop.Shop, m.shop.Shop)
			continue
		}
		owned[m.subject] = m
		f.requests, f.effects = b.requests[m.subject], b.effects[m.subject]
	}
	for subject, list := range b.requests {
		if owned[subject] == nil {
			b.t.Errorf("%d requests for a subject that no operation owns", len(list))
		}
	}
}

// print writes the ledger.
func (b *book) print(done *counter) {
	var out strings.Builder
	fmt.Fprintf(&out, "the ledger of seed %d\n\nwhat was done: %d lives of the worker", b.s.seed, len(b.lives))
	for _, what := range slices.Sorted(maps.Keys(done.n)) {
		fmt.Fprintf(&out, ", %d %s", done.n[what], what)
	}
	in := b.inputs
	fmt.Fprintf(&out, "\nwhat went in: %d records of %d shops = %d accepted + %d repeated + %d ignored + %d dead letters (%d of them with a reused id)\n",
		in.records, len(b.world.order), len(in.accepted), in.repeated, in.ignored, len(in.dead), in.reused)
	fmt.Fprint(&out, "what came out: ")
	for _, typ := range schemas.OutputTypes() {
		fmt.Fprintf(&out, "%s %d, ", strings.TrimPrefix(typ, "shop.invoicebox_"), len(b.results[typ]))
	}
	fmt.Fprintf(&out, "and %d repeats, equal to the letter\n", b.repeats)
	busy := map[journal.ShopKey]bool{}
	for _, f := range b.fates {
		busy[f.shop] = true
	}
	fmt.Fprintf(&out, "of the shops %d have a code or an address below, %d chose another provider only\n\n", len(busy), len(b.world.order)-len(busy))
	type row struct{ matters, requests, doubted, effects, events int }
	rows := map[string]*row{}
	var total row
	for _, f := range b.fates {
		key := f.kind.String() + "\t" + f.line
		if rows[key] == nil {
			rows[key] = &row{}
		}
		for _, x := range []*row{rows[key], &total} {
			x.matters++
			x.requests += len(f.requests)
			x.doubted += f.flagged()
			x.effects += f.effects
			x.events += len(f.events)
		}
	}
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "kind\tended as\tmatters\trequests\tin doubt\teffects\tresults")
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		x := rows[key]
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", key, x.matters, x.requests, x.doubted, x.effects, x.events)
	}
	_, _ = fmt.Fprintf(w, "all\t\t%d\t%d\t%d\t%d\t%d\n", total.matters, total.requests, total.doubted, total.effects, total.events)
	_ = w.Flush()
	sums := 0
	for _, list := range b.requests {
		sums += len(list)
	}
	effects := 0
	for _, n := range b.effects {
		effects += n
	}
	if sums != total.requests || effects != total.effects {
		b.t.Errorf("the sandbox saw %d requests and %d effects, the lines add up to %d and %d", sums, effects, total.requests, total.effects)
	}
	fmt.Fprintf(&out, "the sandbox saw %d requests and had %d effects\n", sums, effects)
	fmt.Fprint(&out, b.words())
	b.t.Log(out.String())
}
