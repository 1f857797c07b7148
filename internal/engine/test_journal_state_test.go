package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// MakeEvent makes an event of a shop as the consumer does.
func MakeEvent(t testing.TB, keys *keyset.Set, topic string, k journal.ShopKey, kind journal.Kind, id, value string) journal.Event {
	t.Helper()
	domain, typ := keyset.DomainAddress, schemas.TypeProviderSelected
	if kind == journal.Activate {
		domain, typ = keyset.DomainCode, schemas.TypeCodeEntered
	}
	macs, err := keys.MACs(domain, keyset.SubjectText(k.Account, value))
	if err != nil {
		t.Fatal(err)
	}
	digests, err := keys.MACs(keyset.DomainContent, []byte(k.Shop+value))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Seal([]byte(value), keyset.SubjectAAD(kind.String(), k.Account, k.Shop, macs[0]))
	if err != nil {
		t.Fatal(err)
	}
	return journal.Event{
		Identity: schemas.Identity(topic, "/platform", id), Digests: digests, Type: typ, Source: "/platform", ID: id,
		Time: time.Now(), Shop: k, Kind: kind, SubjectMACs: macs, Sealed: sealed,
		ReusedLetter: func() (journal.DeadLetter, error) { return journal.DeadLetter{}, errors.New("not expected") },
	}
}

// account makes an account.
func (j *testJournal) account(name string) {
	j.Helper()
	j.ok(j.EnsureAccount(context.Background(), name, "partner-"+name))
}

// An input leads to an operation.
type input struct {
	kind                 journal.Kind
	account, shop, value string
}

// add plans operations in one transaction.
func (j *testJournal) add(list ...input) []*operation {
	j.Helper()
	b := journal.Batch{Topic: simTopicName, From: j.next, Next: j.next + int64(len(list))}
	for _, p := range list {
		e := MakeEvent(j, j.keys, simTopicName, journal.ShopKey{Account: p.account, Shop: p.shop}, p.kind, fmt.Sprint("event-", j.next), p.value)
		e.Offset = j.next
		j.next++
		b.Events = append(b.Events, e)
	}
	_, err := j.Ingest(context.Background(), b)
	j.ok(err)
	j.touch()
	records, err := j.Operations(context.Background(), journal.OperationFilter{Limit: len(list)})
	j.ok(err)
	slices.Reverse(records)
	var added []*operation
	for i, r := range records {
		if r.Event != b.Events[i].ID {
			j.Fatalf("operation %d is of event %s, want %s", r.ID, r.Event, b.Events[i].ID)
		}
		added = append(added, &operation{r.ID, r.UUID, r.Kind, r.Shop, list[i].value})
	}
	j.ops = append(j.ops, added...)
	return added
}

// put moves an operation that nobody has claimed so far, as another process would.
func (j *testJournal) put(op *operation, to journal.State, change func(*journal.Transition)) {
	j.Helper()
	t := journal.Transition{Ref: journal.ClaimRef{Operation: op.id}, From: j.record(op).State, To: to}
	if change != nil {
		change(&t)
	}
	j.ok(j.Journal.Apply(context.Background(), t))
	j.touch()
}

// ask appends an intent as a command does.
func (j *testJournal) ask(keys *keyset.Set, i journal.Intent, token string) *journal.Intent {
	j.Helper()
	return j.append(j.made(keys, i, token))
}

// made completes an intent as a command does.
func (j *testJournal) made(keys *keyset.Set, i journal.Intent, token string) journal.Intent {
	j.Helper()
	i.UUID, i.At, i.Actor, i.Account = uuid.New(), time.Now(), "anna", cmp.Or(i.Account, "default")
	if i.MerchantID != "" {
		k := journal.ShopKey{}
		if at := slices.IndexFunc(j.ops, func(op *operation) bool { return op.UUID == i.Operation }); at >= 0 {
			k = j.ops[at].Shop
		}
		j.ok(SealEntered(keys, &i, k, secret.New(token)))
	}
	var err error
	i.MAC, err = keys.Authenticate(keyset.DomainIntent, i.Authentic()...)
	j.ok(err)
	return i
}

// append appends an intent as it is.
func (j *testJournal) append(i journal.Intent) *journal.Intent {
	j.Helper()
	j.ok(j.AppendIntent(context.Background(), i, journal.AuditEntry{Actor: i.Actor, Act: asked, Detail: i.Act}))
	j.touch()
	return &i
}

// asked is the act of the audit entry of an intent that was appended.
const asked = "asked"

func (j *testJournal) intent(i *journal.Intent) journal.Intent {
	j.Helper()
	return cached(j, "intent "+i.UUID.String(), func() (journal.Intent, error) {
		list, err := j.Intents(context.Background(), journal.IntentFilter{UUID: i.UUID, Limit: 1})
		if err == nil && len(list) != 1 {
			err = journal.ErrNotFound
		}
		if err != nil {
			return journal.Intent{}, err
		}
		var sealed []byte // a list leaves the token out
		err = j.beside().QueryRow("SELECT token FROM intent WHERE uuid = ?", i.UUID[:]).Scan(&sealed)
		list[0].Sealed = sealed
		return list[0], err
	})
}

// notes are the audit's entries but those of what was asked, the oldest first: of a
// person with who and what, of the worker the detail.
func (j *testJournal) notes() (list []string) {
	j.Helper()
	entries, err := j.Audit(context.Background(), 0, 1000)
	j.ok(err)
	for _, e := range slices.Backward(entries) {
		switch {
		case e.Act == asked:
		case e.Actor == "anna":
			list = append(list, e.Actor+" "+e.Act+" "+e.Detail)
		default:
			list = append(list, e.Detail)
		}
	}
	return list
}

// record reads an operation.
func (j *testJournal) record(op *operation) journal.OperationDetail {
	j.Helper()
	return cached(j, "operation "+op.UUID.String(), func() (journal.OperationDetail, error) { return j.Operation(context.Background(), op.UUID) })
}

// column reads a number of an operation's row; 0 for none.
func (j *testJournal) column(op *operation, name string) int64 {
	j.Helper()
	return cached(j, fmt.Sprint(name, " ", op.id), func() (n int64, err error) {
		err = j.beside().QueryRow("SELECT coalesce("+name+", 0) FROM operation WHERE id = ?", op.id).Scan(&n)
		return n, err
	})
}

func (j *testJournal) state(op *operation) (journal.State, onboarding.Reason) {
	j.Helper()
	r := j.record(op)
	return r.State, onboarding.Reason(r.Reason)
}

// states counts the operations of each state that are open or in attention.
func (j *testJournal) states() map[journal.State]int64 {
	j.Helper()
	return cached(j, "states", func() (map[journal.State]int64, error) {
		s, err := j.Stats(context.Background())
		of := map[journal.State]int64{}
		for k, n := range s.Operations {
			of[k.State] += n
		}
		return of, err
	})
}

// settled reports whether nothing is left for the worker.
func (j *testJournal) settled() bool {
	j.Helper()
	for s, n := range j.states() {
		if s.Open() && n > 0 {
			return false
		}
	}
	return true
}

// compared reports whether no late response of an operation is left to be looked at.
func (j *testJournal) compared(op *operation) bool { return j.column(op, "late") == 0 }

// probes counts the probes of an operation that were sent.
func (j *testJournal) probes(op *operation) (n int) {
	j.Helper()
	for _, a := range j.record(op).Tries {
		if a.Probe && (a.End == nil || !a.End.NotSent) {
			n++
		}
	}
	return n
}

// receipts are the responses that are kept of an operation.
func (j *testJournal) receipts(op *operation) []journal.KeptResponse {
	j.Helper()
	return cached(j, "receipts "+op.UUID.String(), func() ([]journal.KeptResponse, error) { return j.Responses(context.Background(), op.UUID) })
}

// eventsOf are the events of an operation, in their order.
func (j *testJournal) eventsOf(op *operation) (list []journal.OutboxRow) {
	j.Helper()
	messages := cached(j, "outbox", func() (map[uuid.UUID]journal.OutboxRow, error) {
		rows, err := j.Pending(context.Background(), 0, 100_000, 1<<30)
		of := map[uuid.UUID]journal.OutboxRow{}
		for _, r := range rows {
			of[r.Event] = r
		}
		return of, err
	})
	output := j.record(op).Output
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range output {
		m, waits := messages[o.Event]
		if !waits {
			m = j.sent[o.Event]
		}
		list = append(list, m)
	}
	return list
}

func (j *testJournal) shop(k journal.ShopKey) journal.ShopHistory {
	j.Helper()
	return cached(j, "shop "+k.Shop, func() (journal.ShopHistory, error) { return j.Shop(context.Background(), k) })
}

// credentials are all of a shop, the oldest first.
func (j *testJournal) credentials(k journal.ShopKey) (list []journal.Credential) {
	j.Helper()
	newest, err := j.Credential(context.Background(), k, 0)
	for v := int64(1); err == nil && v <= newest.Version; v++ {
		if c, err := j.Credential(context.Background(), k, v); err == nil {
			list = append(list, c)
		}
	}
	if err != nil && !errors.Is(err, journal.ErrNotFound) {
		j.Fatal(err)
	}
	return list
}

// reviews are what those of a shop's credentials brought so far.
func (j *testJournal) reviews(op *operation) []journal.ReviewAnswer {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.views[op.Shop])
}

// dueCalls counts the engine's looks for work so far, and accountCalls those at the breakers.
func (j *testJournal) dueCalls() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dues
}

func (j *testJournal) accountCalls() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lists
}

// claims are the engine's claims so far.
func (j *testJournal) claims() []journal.ClaimRequest {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.asks)
}

// transitions are the engine's transitions and attempts so far.
func (j *testJournal) transitions() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.steps)
}

// breaker is the default account's, as the journal has it.
func (j *testJournal) circuit() journal.Circuit {
	j.Helper()
	return cached(j, "circuit", func() (journal.Circuit, error) {
		list, err := j.Journal.Accounts(context.Background())
		for _, a := range list {
			if a.Name == "default" {
				return a.Circuit, err
			}
		}
		return journal.Circuit{}, err
	})
}

// setCircuit changes the breaker of an account as another process does.
func (j *testJournal) setCircuit(account string, g journal.Circuit) {
	j.Helper()
	j.ok(j.Journal.SetCircuit(context.Background(), account, g, nil))
	j.touch()
}

// earlier is a request of an operation of which nobody knows what became: the first one
// without a response, else one of which the operation's row knows nothing.
func (j *testJournal) earlier(op *operation) journal.AttemptID {
	j.Helper()
	for _, a := range j.record(op).Tries {
		if !a.HasReceipt && (a.End == nil || !a.End.Answered && !a.End.NotSent) {
			return a.ID
		}
	}
	var id int64
	j.ok(j.beside().QueryRow("SELECT min(0, coalesce(min(id), 0)) - 1 FROM attempt").Scan(&id))
	j.exec("INSERT INTO attempt (id, account, operation, number, flagged, started, send_by, deadline, slack, ledgers) SELECT ?, account, id, 0, 0, 1, 1, 1, 0, '' FROM operation WHERE id = ?", id, op.id)
	return journal.AttemptID(id)
}

// attempts counts the requests, those of checks too, of which a condition holds.
func (j *testJournal) attempts(condition string) (n int) {
	j.Helper()
	j.ok(j.beside().QueryRow("SELECT count(*) FROM attempt WHERE " + condition).Scan(&n))
	return n
}

// otherSends has another process claim the only operation that is due, begin a request,
// and not be heard of again. Its lease ends after the given time.
func (h *harness) otherSends(op *operation, lease time.Duration) {
	h.t.Helper()
	got, err := h.j.Journal.Claim(context.Background(), journal.ClaimRequest{Account: op.Shop.Account, Kind: op.Kind, Stage: journal.Call, Limit: 2, Lease: lease, Owner: "another"})
	h.j.ok(err)
	if len(got) != 1 || got[0].UUID != op.UUID {
		h.t.Fatalf("claimed %+v", got)
	}
	_, err = h.j.Journal.BeginAttempt(context.Background(), journal.AttemptStart{Ref: got[0].Ref, Attempt: 1, SendBy: time.Second, Deadline: time.Second})
	h.j.ok(err)
	h.j.touch()
}

// activates has another process make an operation in attention the shop's current
// activation.
func (h *harness) activates(op *operation, version int64, merchant, token string) {
	h.t.Helper()
	prepared, err := h.cfg.Credentials.Prepare(context.Background(), credentials.Secret{Shop: op.Shop, Version: version, MerchantID: merchant, Token: secret.New(token)})
	h.j.ok(err)
	h.j.put(op, journal.Stored, func(t *journal.Transition) { t.Credential, t.Due = &prepared.Row, time.Now().Add(time.Hour) })
	h.j.put(op, journal.Done, func(t *journal.Transition) {
		t.Reason, t.Verified, t.Active = string(onboarding.ReasonActivated), true, &journal.ActiveUpdate{At: time.Now(), Event: uuid.New(), Review: time.Now().Add(time.Hour)}
	})
}
