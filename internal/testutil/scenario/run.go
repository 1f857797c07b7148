package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A Run is what is left of a scenario when nothing is left to do.
type Run struct {
	Story   *Story
	Cluster *kafkatest.Cluster
	Topics  map[string]string // by the contract's names
	Group   string
	Journal journal.Journal
	Store   credentials.Store // where the references lead

	Requests []sandbox.Request // all of them, in order
	Effects  sandbox.Effects
	Windows  sandbox.Windows
	TokenOf  func(code string) string // that the sandbox issues

	// Quiet is how long after a request that nobody heard the end of another one of its shop
	// may begin although the sandbox is still at it; 0: never.
	Quiet time.Duration
	// Heard tells whether an answer reached a worker that could save it.
	Heard func(sandbox.Request) bool
	// Around says for a failure what else happened when a request was made.
	Around func(sandbox.Request) string
}

// A fate is what became of one subject.
type fate struct {
	*Subject
	end      string                   // state and reason of its operation
	op       *journal.OperationDetail // nil: it has none
	asked    int                      // operations: more than one only of a code of another shop, one for each event
	requests []sandbox.Request
	effects  int // e-mails, or the code's being spent
	events   []published
}

// A published is one record of a result topic.
type published struct {
	schemas.Event
	raw kafkago.Message
}

// An oracle holds all that is known of a run.
type oracle struct {
	testing.TB
	Run
	inputs    inputs
	fates     []*fate
	results   map[string][]published // by type, each id once
	repeats   int                    // records of result topics beyond the first with their id
	letters   map[string]bool        // dead letters in the journal, by place
	effects   map[string]int         // by subject
	merchants map[string]string      // by code
	requests  map[string][]sandbox.Request
	histories map[journal.ShopKey]journal.ShopHistory
	accepted  map[string]string // place of each inbox row → event id
}

// inputs says of every record of the input topics where it must have ended.
type inputs struct {
	accepted                           map[string]string // place → event id
	dead                               map[string]bool   // place
	records, repeated, reused, ignored int
}

// A Report is what came of a run.
type Report struct {
	Ledger    string         // for people
	Attention map[string]int // operations that wait for an operator, by kind and reason: "activate outcome_unknown"
}

// Judge checks everything that must hold.
func Judge(tb testing.TB, run Run) Report {
	tb.Helper()
	o := &oracle{
		TB: tb, Run: run, results: map[string][]published{}, letters: map[string]bool{}, effects: map[string]int{}, merchants: map[string]string{},
		requests: map[string][]sandbox.Request{}, histories: map[journal.ShopKey]journal.ShopHistory{}, accepted: map[string]string{},
	}
	o.readInputs()
	o.readResults()
	o.readRequests()
	o.readJournal()
	o.judgeInputs()
	o.judgePositions()
	o.judgeEnds()
	o.judgeOutput()
	o.judgeRequests()
	o.judgeShops()
	o.judgeTokens()
	o.judgeAnswers()
	o.judgeWindows()
	return Report{o.ledger(), o.waiting()}
}

func place(topic string, partition int, offset int64) string {
	return fmt.Sprint(topic, "/", partition, "/", offset)
}

// readInputs reads back what the brokers hold: what was written is what counts,
// not what the platform wanted to write.
func (o *oracle) readInputs() {
	o.inputs = inputs{accepted: map[string]string{}, dead: map[string]bool{}}
	for _, typ := range schemas.InputTypes() {
		first := map[string]string{} // id → content
		for _, m := range o.Cluster.ReadAll(o, o.Topics[typ]) {
			at, id := place(m.Topic, m.Partition, m.Offset), Header(m, "ce_id")
			o.inputs.records++
			content, known := first[id]
			switch mark := Header(m, markHeader); {
			case mark == markIgnored:
				o.inputs.ignored++
			case mark == markBad:
				o.inputs.dead[at] = true
			case !known:
				first[id] = string(m.Value)
				o.inputs.accepted[at] = id
			case content == string(m.Value):
				o.inputs.repeated++
			default:
				o.inputs.reused++
				o.inputs.dead[at] = true
			}
		}
	}
}

// readResults reads the result topics, of which each must keep the contract.
func (o *oracle) readResults() {
	for _, typ := range schemas.OutputTypes() {
		records := o.Cluster.ReadAll(o, o.Topics[typ])
		o.results[typ] = results(o, typ, records)
		o.repeats += len(records) - len(o.results[typ])
	}
}

// Results decodes the records of one result topic strictly, and gives each event once:
// records with one id must be equal to the letter, and a shop's sequences must rise.
func Results(tb testing.TB, typ string, records []kafkago.Message) []schemas.Event {
	tb.Helper()
	var events []schemas.Event
	for _, p := range results(tb, typ, records) {
		events = append(events, p.Event)
	}
	return events
}

func results(tb testing.TB, typ string, records []kafkago.Message) (list []published) {
	tb.Helper()
	seen, highest := map[string]string{}, map[string]int64{}
	for _, m := range records {
		e, err := schemas.DecodeOutput(FromKafka(m), schemas.Strict)
		if err != nil {
			tb.Errorf("%s partition %d offset %d: %v", m.Topic, m.Partition, m.Offset, err)
			continue
		}
		whole := fmt.Sprintf("%q %q %q", m.Key, m.Headers, m.Value)
		if first, ok := seen[e.ID]; ok {
			if first != whole {
				tb.Errorf("%s %s was published with two contents", typ, e.ID)
			}
			continue
		}
		seen[e.ID] = whole
		if typ != schemas.TypeDeadLetter && e.Sequence <= highest[e.Subject] {
			tb.Errorf("%s of shop %s: sequence %d after %d", typ, e.Subject, e.Sequence, highest[e.Subject])
		}
		highest[e.Subject] = e.Sequence
		list = append(list, published{e, m})
	}
	return list
}

func (o *oracle) readRequests() {
	for _, i := range o.Effects.Invitations {
		o.effects[i.Identifier] = i.Effects
	}
	for _, a := range o.Effects.Activations {
		o.effects[a.Code], o.merchants[a.Code] = a.Effects, a.MerchantID
	}
	for _, q := range o.Requests {
		if q.Operation == sandbox.Invite || q.Operation == sandbox.Activate {
			o.requests[q.Subject] = append(o.requests[q.Subject], q)
		}
	}
}

func (o *oracle) readJournal() {
	begun := map[*Subject][]*journal.OperationDetail{} // begun by an event of the subject
	exits := map[*Subject]map[string]bool{}
	for _, key := range o.Story.Shops {
		h, err := o.Journal.Shop(o.Context(), key)
		if err != nil {
			continue // a shop of which nothing was taken in
		}
		o.histories[key] = h
		for i := range h.Operations {
			op := &h.Operations[i]
			if s := o.Story.byEvent[op.Event]; s != nil {
				begun[s] = append(begun[s], op)
			} else {
				o.Errorf("an operation of shop %s began with event %q, which is no event of ours", key.Shop, op.Event)
			}
		}
		for _, e := range h.Events {
			o.accepted[place(e.Topic, e.Partition, e.Offset)] = e.ID
			s := o.Story.byEvent[e.ID]
			if s == nil {
				o.Errorf("the inbox holds event %q, which is none of ours", e.ID)
				continue
			}
			if exits[s] == nil {
				exits[s] = map[string]bool{}
			}
			exits[s][e.Exit] = true
		}
	}
	const page = 1000
	for before, more := int64(0), true; more; {
		list, err := o.Journal.DeadLetters(o.Context(), journal.DeadLetterFilter{Before: before, Limit: page})
		if err != nil {
			o.Fatal(err)
		}
		for _, l := range list {
			o.letters[place(l.Topic, l.Partition, l.Offset)] = true
			before = l.ID
		}
		more = len(list) == page
	}
	o.assign(begun, exits)
}

// assign gives every subject its end, and to that what belongs to it.
func (o *oracle) assign(begun map[*Subject][]*journal.OperationDetail, exits map[*Subject]map[string]bool) {
	byOperation := map[string][]published{}
	for _, list := range o.results {
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
	owned := map[string]*Subject{}
	for _, s := range o.Story.Subjects {
		f := &fate{Subject: s}
		o.fates = append(o.fates, f)
		list := begun[s]
		switch {
		case len(exits[s]) == 0:
			o.Errorf("%s of shop %s: none of its events is in the inbox", s.Kind, s.Shop.Shop)
			continue
		case len(list) == 0:
			f.end = "no operation: " + strings.Join(slices.Sorted(maps.Keys(exits[s])), ", ")
			continue
		}
		f.op, f.asked = list[0], len(list)
		f.end = f.op.State.String() + ": " + f.op.Reason
		for _, op := range list {
			f.events = append(f.events, byOperation[op.UUID.String()]...)
			if f.asked > 1 && !foreign(op) {
				o.Errorf("%s of shop %s has %d operations", s.Kind, s.Shop.Shop, len(list))
			}
		}
		if foreign(f.op) {
			f.end = f.op.State.String() + ": " + string(schemas.FailureCodeOfOtherShop)
			continue
		}
		if other := owned[s.Text]; other != nil {
			o.Errorf("shops %s and %s both own one subject", other.Shop.Shop, s.Shop.Shop)
			continue
		}
		owned[s.Text] = s
		f.requests, f.effects = o.requests[s.Text], o.effects[s.Text]
	}
	for text, list := range o.requests {
		if owned[text] == nil {
			o.Errorf("%d requests for a subject that no operation owns", len(list))
		}
	}
}

// Unread lists the partitions of the inputs whose records are not all in the journal.
func Unread(tb testing.TB, c *kafkatest.Cluster, topics map[string]string, j journal.Journal) (list []string) {
	tb.Helper()
	positions, err := j.Positions(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	next := map[string]int64{}
	for _, p := range positions {
		next[fmt.Sprint(p.Topic, "/", p.Partition)] = p.Next
	}
	for _, typ := range schemas.InputTypes() {
		for _, p := range c.Offsets(tb, topics[typ]) {
			if at := fmt.Sprint(topics[typ], "/", p.Partition); next[at] != p.Next {
				list = append(list, fmt.Sprintf("%s: %d of %d", at, next[at], p.Next))
			}
		}
	}
	return list
}

// Positions checks that the group has committed nothing that is not in the journal.
func Positions(tb testing.TB, c *kafkatest.Cluster, group string, j journal.Journal) {
	tb.Helper()
	positions, err := j.Positions(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	committed := map[string]map[int]int64{}
	for _, p := range positions {
		if committed[p.Topic] == nil {
			committed[p.Topic] = c.Committed(tb, group, p.Topic)
		}
		if n := committed[p.Topic][p.Partition]; n > p.Next {
			tb.Errorf("%s/%d: %d is committed, the journal stands at %d", p.Topic, p.Partition, n, p.Next)
		}
	}
}

// outputs are all results that the journal has made, by event.
func (o *oracle) outputs() map[uuid.UUID]journal.OutputRecord {
	all := map[uuid.UUID]journal.OutputRecord{}
	for _, h := range o.histories {
		for _, out := range h.Output {
			all[out.Event] = out
		}
	}
	return all
}
