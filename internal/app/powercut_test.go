package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/journal/sqlite/powercut"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A promise is something that somebody outside was shown, or that the service
// went on from: from then on it has to be on the disk.
type promise struct {
	moment int
	what   string
	kept   func(ctx context.Context, j journal.Journal) error
}

// promises collects them while a service runs.
type promises struct {
	journal.Journal
	log *powercut.Log

	mu   sync.Mutex
	list []promise
	ops  map[int64]uuid.UUID
	sent map[string]int // requests by kind and shop
}

func (p *promises) add(what string, kept func(context.Context, journal.Journal) error) {
	moment := p.log.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, promise{moment, what, kept})
}

func (p *promises) Claim(ctx context.Context, r journal.ClaimRequest) ([]journal.ClaimedOperation, error) {
	ops, err := p.Journal.Claim(ctx, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, op := range ops {
		p.ops[op.Ref.Operation] = op.UUID
	}
	return ops, err
}

func (p *promises) operation(ref journal.ClaimRef) uuid.UUID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ops[ref.Operation]
}

// SaveResponse promises the receipt, before a byte of it is parsed.
func (p *promises) SaveResponse(ctx context.Context, r journal.Receipt) (journal.State, bool, error) {
	state, mine, err := p.Journal.SaveResponse(ctx, r)
	p.saved(r, err)
	return state, mine, err
}

// SaveResponseAndBeginCheck promises the same.
func (p *promises) SaveResponseAndBeginCheck(ctx context.Context, r journal.Receipt, c journal.Check) (journal.State, bool, journal.AttemptID, error) {
	state, mine, check, err := p.Journal.SaveResponseAndBeginCheck(ctx, r, c)
	p.saved(r, err)
	return state, mine, check, err
}

func (p *promises) saved(r journal.Receipt, err error) {
	if err != nil {
		return
	}
	id := p.operation(r.Ref)
	p.add("receipt", func(ctx context.Context, j journal.Journal) error {
		op, err := j.Operation(ctx, id)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(op.Tries, func(a journal.AttemptRecord) bool { return a.ID == r.Attempt && a.HasReceipt }) {
			return fmt.Errorf("no receipt of attempt %d", r.Attempt)
		}
		return nil
	})
}

// Apply promises the credential that was stored.
func (p *promises) Apply(ctx context.Context, t journal.Transition) error {
	err := p.Journal.Apply(ctx, t)
	if c := t.Credential; err == nil && c != nil {
		p.add("credential", func(ctx context.Context, j journal.Journal) error {
			_, err := j.Credential(ctx, c.Shop, c.Version)
			return err
		})
	}
	return err
}

// Pending promises the events that are about to be published.
func (p *promises) Pending(ctx context.Context, after int64, limit, maxBytes int) ([]journal.OutboxRow, error) {
	rows, err := p.Journal.Pending(ctx, after, limit, maxBytes)
	for _, row := range rows {
		shop := journal.ShopKey{Account: "default", Shop: string(row.Message.Key)}
		p.add("outgoing event", func(ctx context.Context, j journal.Journal) error {
			h, err := j.Shop(ctx, shop)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(h.Output, func(o journal.OutputRecord) bool { return o.Event == row.Event }) {
				return fmt.Errorf("event %s is not in the outbox", row.Event)
			}
			return nil
		})
	}
	return rows, err
}

// arrived promises that the attempt of a request that is here is durable.
func (p *promises) arrived(kind journal.Kind, shop string) {
	p.mu.Lock()
	p.sent[kind.String()+shop]++
	n := p.sent[kind.String()+shop]
	p.mu.Unlock()
	p.add("request", func(ctx context.Context, j journal.Journal) error {
		h, err := j.Shop(ctx, journal.ShopKey{Account: "default", Shop: shop})
		if err != nil {
			return err
		}
		for _, op := range h.Operations {
			// Opening the journal made an attempt without an end unknown.
			if op.Kind == kind && len(op.Tries) >= n && (op.State == journal.Unknown || op.Tries[n-1].End != nil) {
				return nil
			}
		}
		return fmt.Errorf("request %d of %s is in no attempt", n, shop)
	})
}

// committed promises that the inbox covers what the group has committed.
func (p *promises) committed(r *kmsg.OffsetCommitRequest) {
	for _, t := range r.Topics {
		for _, x := range t.Partitions {
			p.add("offset", func(ctx context.Context, j journal.Journal) error {
				known, err := j.Positions(ctx)
				if err != nil {
					return err
				}
				if !slices.ContainsFunc(known, func(q journal.Position) bool {
					return q.Topic == t.Topic && q.Partition == int(x.Partition) && q.Next >= x.Offset
				}) {
					return fmt.Errorf("%s/%d: offset %d is committed", t.Topic, x.Partition, x.Offset)
				}
				return nil
			})
		}
	}
}

// The power goes at the very moment when a request arrives at Invoicebox, when
// the service goes on from a receipt or a credential, when an event is about to
// be published or an offset is committed: what was seen is on the disk.
func TestWhatWasSeenIsOnDisk(t *testing.T) {
	const shops = 6 // to invite, and as many to activate
	dir := t.TempDir()
	log, err := powercut.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Stop()
	p := &promises{log: log, ops: map[int64]uuid.UUID{}, sent: map[string]int{}}
	serveAndRecord(t, dir, p, shops)

	kinds := map[string]int{}
	for i, x := range p.list {
		kinds[x.what]++
		for _, seed := range []uint64{0, uint64(i) + 1} {
			if err := after(t, log, powercut.Cut{At: x.moment, Seed: seed}, x); err != nil {
				t.Errorf("power cut at %d of %d, seed %d, %s: %v", x.moment, log.Now(), seed, x.what, err)
			}
		}
	}
	for what, least := range map[string]int{"request": 2 * shops, "receipt": shops, "credential": shops, "outgoing event": 2 * shops, "offset": 2} {
		if kinds[what] < least {
			t.Errorf("%d promises of kind %q, want %d at least", kinds[what], what, least)
		}
	}
	t.Logf("%d power cuts over %d writes and syncs; promises: %v", 2*len(p.list), log.Now(), kinds)

	// Had nothing been synced, this would have been seen.
	broken := 0
	for _, x := range p.list {
		if after(t, log, powercut.Cut{At: x.moment, Deaf: true}, x) != nil {
			broken++
		}
		if broken > 0 {
			break
		}
	}
	if broken == 0 {
		t.Error("every promise is kept without a single sync: the test sees nothing")
	}
}

// after opens what a power cut leaves behind and looks whether the promise is kept.
func after(t *testing.T, log *powercut.Log, c powercut.Cut, x promise) error {
	t.Helper()
	dir := t.TempDir()
	if err := log.Image(c, dir); err != nil {
		t.Fatal(err)
	}
	j, err := sqlite.Open(t.Context(), sqlite.Options{
		Path: filepath.Join(dir, "journal.db"), Planner: onboarding.NewPlanner(onboarding.PlannerOptions{Source: source, Now: time.Now}),
	})
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	return x.kept(t.Context(), j)
}

// serveAndRecord runs a service in this process until every shop is invited
// and activated, and ends it.
func serveAndRecord(t *testing.T, dir string, p *promises, shops int) {
	t.Helper()
	cluster := kafkatest.Embedded(t)
	for _, name := range append(schemas.InputTypes(), schemas.OutputTypes()...) {
		if err := cluster.CreateTopics(t.Context(), kafkago.TopicConfig{Topic: name, NumPartitions: 2}); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Fake().ControlKey(int16(kmsg.OffsetCommit), func(q kmsg.Request) (kmsg.Response, error, bool) {
		cluster.Fake().KeepControl()
		p.committed(q.(*kmsg.OffsetCommitRequest))
		return nil, nil, false
	})
	box, err := sandbox.New(sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Code    string `json:"activationCode"`
			Address string `json:"identifier"`
		}
		body, err := io.ReadAll(r.Body)
		if err == nil && json.Unmarshal(body, &asked) == nil {
			switch {
			case asked.Code != "":
				p.arrived(journal.Activate, asked.Code[len("code-"):])
			case asked.Address != "":
				p.arrived(journal.Invite, asked.Address[:len(asked.Address)-len("@shops.example")])
			}
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		box.API().ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)

	var selected, entered []kafkago.Message
	for i := range shops {
		// An active shop is not invited: these are different shops.
		guest, shop := fmt.Sprintf("guest%d", i), fmt.Sprintf("shop%d", i)
		selected = append(selected, kafkago.Message{Key: []byte(guest), Value: fmt.Appendf(nil, `{"shopId":%q,"provider":"invoicebox","email":"%s@shops.example"}`, guest, guest)})
		entered = append(entered, kafkago.Message{Key: []byte(shop), Value: fmt.Appendf(nil, `{"shopId":%q,"activationCode":"code-%s"}`, shop, shop)})
	}
	cluster.Produce(t, schemas.TypeProviderSelected, selected)
	cluster.Produce(t, schemas.TypeCodeEntered, entered)

	o := Defaults()
	o.Version, o.Logger, o.Listen, o.Start = "test", quiet(), "", "earliest"
	o.Kafka, o.InvoiceboxURL, o.JournalURL = kafka.Config{Brokers: cluster.Brokers()}, api.URL, "sqlite:"+filepath.Join(dir, "journal.db")
	o.Accounts = []Account{{
		Name: "default", PartnerID: sandbox.DefaultPartnerID, RequestsPerWindow: 1000, Window: time.Second,
		Token: func() secret.String { return secret.New(sandbox.DefaultToken) },
	}}
	if o.Keyset, err = keyset.New(); err != nil {
		t.Fatal(err)
	}
	o.Hooks.Journal = func(j journal.Journal) journal.Journal {
		p.Journal = j
		return p
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	cluster.Await(t, schemas.TypeActivated, shops)
	cluster.Await(t, schemas.TypeInvited, shops)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
