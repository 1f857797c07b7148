package onboarding

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var restoreAt = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var allPlaces = []RestoredState{RestoredQueued, RestoredToCall, RestoredAnswered, RestoredAttention, RestoredEnded}

// stateAt gives a state that stands for a place.
var stateAt = map[RestoredState]journal.State{
	RestoredQueued: journal.Queued, RestoredToCall: journal.Planned, RestoredAnswered: journal.Received, RestoredAttention: journal.Attention, RestoredEnded: journal.Done,
}

func TestRestorer_EveryState(t *testing.T) {
	want := map[journal.State]RestoredState{
		journal.Queued: RestoredQueued, journal.Planned: RestoredToCall, journal.Waiting: RestoredToCall, journal.Claimed: RestoredToCall, journal.Sending: RestoredToCall,
		journal.Unknown: RestoredToCall, journal.Received: RestoredAnswered, journal.Stored: RestoredAnswered, journal.Attention: RestoredAttention,
		journal.Done: RestoredEnded, journal.Superseded: RestoredEnded,
	}
	for _, s := range allStates {
		if got := restoredStateOf(s); got != want[s] {
			t.Errorf("%v is at %q, want %q", s, got, want[s])
		}
	}
}

// restoredOp is an operation of a copy.
func restoredOp(kind journal.Kind, place RestoredState, unknowns int) journal.RestoredOperation {
	return journal.RestoredOperation{Last: true, ClaimedOperation: journal.ClaimedOperation{
		UUID: uuid.NewSHA1(uuid.Nil, []byte("operation")), Kind: kind, State: stateAt[place], Shop: journal.ShopKey{Account: "default", Shop: "shop"},
		Run: 2, Unknowns: unknowns, EventID: "event",
	}}
}

// publishedAs makes what was published of a run, as it lies in the topic.
func publishedAs(t *testing.T, o journal.RestoredOperation, run int, sequence int64, data schemas.Data) journal.PublishedEvent {
	t.Helper()
	op := o.ClaimedOperation
	op.Run = run
	d := Publisher{source: DefaultSource}.ofRun(op, restoreAt, data)
	m, err := d.Freeze(sequence)
	if err != nil {
		t.Fatal(err)
	}
	return journal.PublishedEvent{Event: d.ID, Type: data.Type(), Shop: o.Shop, Operation: o.UUID, Causation: o.EventID, Sequence: sequence, At: restoreAt, Message: m}
}

func activatedIn(store string) schemas.Activated {
	mount := "secret"
	if store == schemas.StoreSealed {
		mount = schemas.SealedMount
	}
	ref := schemas.Reference{Store: store, Mount: mount, Account: "default", Shop: "shop", Version: 3}
	return schemas.Activated{
		ShopID: "shop", PartnerAccount: "default", MerchantID: "merchant", ActivatedAt: restoreAt, Verification: schemas.VerificationVerified,
		Credentials: schemas.Credentials{Ref: ref.String(), Store: store, Key: ref.Key(), Version: 3, Fields: []string{schemas.FieldMerchantID, schemas.FieldToken}},
	}
}

// saying gives an operation the results that make a word its last one.
func saying(t *testing.T, o journal.RestoredOperation, word PublishedState) (journal.RestoredOperation, bool) {
	t.Helper()
	add := func(data schemas.Data) {
		o.Results = append(o.Results, publishedAs(t, o, o.Run, int64(len(o.Results)+5), data))
	}
	invite := o.Kind == journal.Invite
	switch word {
	case PublishedNothing:
	case PublishedInvited:
		add(schemas.Invited{ShopID: "shop", PartnerAccount: "default", InvitedAt: restoreAt, Outcome: schemas.OutcomeSent})
	case PublishedActivated:
		add(activatedIn("vault"))
	case PublishedConflict:
		add(activatedIn("openbao"))
		o.Conflict = true
	case PublishedSecretLost:
		add(activatedIn(schemas.StoreSealed))
	case PublishedReplaced:
		add(activatedIn(schemas.StoreSealed))
		o.Newest = activatedIn("openbao").Credentials.Ref
	case PublishedDisconnected:
		add(activatedIn("vault"))
		add(schemas.Disconnected{ShopID: "shop", PartnerAccount: "default", DisconnectedAt: restoreAt})
	case PublishedFailed:
		add(failureData(o.Kind, o.Shop, schemas.FailureExpired))
	case PublishedAttention:
		add(failureData(o.Kind, o.Shop, schemas.FailureOutcomeUnknown))
	case PublishedResponseLost:
		add(failureData(journal.Activate, o.Shop, schemas.FailureAnswerUnreadable))
	}
	fits := map[PublishedState]journal.Kind{PublishedInvited: journal.Invite, PublishedActivated: journal.Activate, PublishedSecretLost: journal.Activate, PublishedReplaced: journal.Activate, PublishedConflict: journal.Activate, PublishedResponseLost: journal.Activate, PublishedDisconnected: journal.Activate}
	kind, only := fits[word]
	return o, !only || kind == o.Kind && invite == (kind == journal.Invite)
}

// Every operation with every word comes to what the table says, and no row is
// out of reach.
func TestRestorer_Rules(t *testing.T) {
	words := []PublishedState{PublishedNothing, PublishedInvited, PublishedActivated, PublishedSecretLost, PublishedReplaced, PublishedConflict, PublishedDisconnected, PublishedFailed, PublishedAttention, PublishedResponseLost}
	reached := map[string]bool{}
	for _, kind := range bothKinds {
		for _, place := range allPlaces {
			for _, word := range words {
				for _, hold := range []bool{false, true} {
					for unknowns := range 2 {
						o, possible := saying(t, restoredOp(kind, place, unknowns), word)
						if !possible || kind == journal.Invite && place == RestoredAnswered {
							continue
						}
						setting := ProbeOnce
						if hold {
							setting = Hold
						}
						name := fmt.Sprintf("%v %s, %s, %s, %d unknown", kind, place, word, setting, unknowns)
						row, ok := restoreRuleOf(kind, place, word, hold, unknowns > 0)
						got := NewRestorer(RestorerOptions{UnknownOutcome: setting, Now: func() time.Time { return restoreAt }})(o)
						if !ok {
							if place != RestoredEnded || word != PublishedNothing || got.Word != "" {
								t.Errorf("%s: no row fits, and it comes to %+v", name, got)
							}
							continue
						}
						reached[fmt.Sprintf("%+v", row)] = true
						checkRestoration(t, name, o, row, got)
					}
				}
			}
		}
	}
	for _, row := range RestoreRules() {
		if !reached[fmt.Sprintf("%+v", row)] {
			t.Errorf("no operation comes to %+v", row)
		}
	}
}

func checkRestoration(t *testing.T, name string, o journal.RestoredOperation, row RestoreRule, got journal.Restoration) {
	t.Helper()
	if got.To != row.To || got.Doubt != row.Doubt || got.Unknown != row.Unknown || row.Reason != "" && got.Reason != string(row.Reason) {
		t.Errorf("%s comes to %+v, want %+v", name, got, row)
	}
	if (len(got.Publish) > 0) != (row.Failure != "") {
		t.Errorf("%s publishes %d events, want %q", name, len(got.Publish), row.Failure)
	}
	for _, d := range got.Publish {
		for _, r := range o.Results {
			if d.ID == r.Event {
				t.Errorf("%s publishes an id that was published with other bytes", name)
			}
		}
		m, err := d.Freeze(9)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := schemas.DecodeOutput(m, schemas.Strict); err != nil || e.Sequence != 9 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A code of which nothing is known is sent once more at the most, and only
	// where no attempt was unknown before.
	if sends := got.To == journal.Unknown || got.To == 0 && got.Unknown; sends && (o.Unknowns > 0 || !got.Doubt) {
		t.Errorf("%s may be sent once more", name)
	}
	// Active is only what resolves. The secret of a disconnected shop is still to be
	// destroyed.
	if (got.Active != nil) != (row.Outcome == outcomeActive) || (got.Credential != nil) != (got.Active != nil || row.Published == PublishedDisconnected) {
		t.Errorf("%s: active %+v, credential %+v", name, got.Active, got.Credential)
	}
	if got.Active != nil && !got.Active.DestroyAt.Equal(restoreAt.Add(DefaultDestroyAfter)) {
		t.Errorf("%s: what it replaces is destroyed at %v", name, got.Active.DestroyAt)
	}
	if got.Word == "" && (row.To != 0 || row.Unknown) {
		t.Errorf("%s is not reported", name)
	}
}

func TestRestorer_LastPublished(t *testing.T) {
	o := restoredOp(journal.Activate, RestoredToCall, 0)
	versions := map[string]int64{}
	restore := func(results ...journal.PublishedEvent) journal.Restoration {
		o := o
		o.Results, o.Versions, o.Last = results, versions, false
		return NewRestorer(RestorerOptions{Now: func() time.Time { return restoreAt }})(o)
	}
	failed := func(run int, sequence int64, reason schemas.FailureReason) journal.PublishedEvent {
		return publishedAs(t, o, run, sequence, failureData(journal.Activate, o.Shop, reason))
	}
	active := publishedAs(t, o, 2, 6, activatedIn("openbao"))
	other := publishedAs(t, o, 2, 8, activatedIn("vault"))
	other.Event = uuid.New()
	active.Version = 7 // the journal's number
	sealed := publishedAs(t, o, 2, 6, activatedIn(schemas.StoreSealed))
	sealed.Version = 3
	// The same number in another store is another secret.
	versions[activatedIn("vault").Credentials.Ref] = 3
	lost := restore(sealed)
	versions = map[string]int64{activatedIn(schemas.StoreSealed).Credentials.Ref: 3}
	held := restore(sealed)
	versions = nil
	for name, c := range map[string]struct {
		got  journal.Restoration
		want string
		run  int
	}{
		"a success after a failure":       {restore(failed(2, 5, schemas.FailureOutcomeLost), active), "done activated", 2},
		"a failure after a success":       {restore(active, failed(2, 7, schemas.FailureSecondToken)), "attention credentials_lost", 3},
		"a refusal in a later run":        {restore(failed(2, 5, schemas.FailureCodeRejected), failed(5, 6, schemas.FailureCodeRejected)), "done code_rejected", 5},
		"its own credentials":             {held, "done activated", 2},
		"credentials in the lost file":    {lost, "attention credentials_lost", 3},
		"what is no result of any run":    {restore(other), "unknown_state ", 0},
		"nothing yet, more may be found":  {restore(), "unknown_state ", 0},
		"lost by an earlier recovery too": {restore(failed(3, 9, schemas.FailureCredentialsLost)), "attention credentials_lost", 3},
	} {
		if got := c.got.To.String() + " " + c.got.Reason; got != c.want || c.got.Run != c.run {
			t.Errorf("%s comes to %q in run %d, want %q in %d", name, got, c.got.Run, c.want, c.run)
		}
	}
	got := restore(active)
	want := &journal.Credential{Shop: o.Shop, Version: 7, Reference: activatedIn("openbao").Credentials.Ref, MerchantID: "merchant"}
	if diff := cmp.Diff(want, got.Credential); diff != "" || got.Active.Event != active.Event || !got.Active.At.Equal(restoreAt) {
		t.Errorf("taken over: %s %+v", diff, got.Active)
	}
	// What came after it was of another token, or of another run.
	for _, reason := range []schemas.FailureReason{schemas.FailureSecondToken, schemas.FailureOutcomeUnknown, schemas.FailureCodeRejected} {
		got := restore(active, failed(2, 7, reason))
		if diff := cmp.Diff(want, got.Credential); diff != "" || got.Active == nil || got.Active.Event != active.Event {
			t.Errorf("with %s after it: %s %+v", reason, diff, got.Active)
		}
		if got := restore(sealed, failed(2, 7, reason)); got.Credential != nil || got.Active != nil || got.MerchantID != "merchant" {
			t.Errorf("lost, with %s after it: %+v", reason, got)
		}
	}
	versions = map[string]int64{activatedIn("openbao").Credentials.Ref: 5}
	if got := restore(active); got.Credential.Version != 5 {
		t.Errorf("the journal has it as version 5, and it becomes %d", got.Credential.Version)
	}
	o.State = journal.Received
	if got := restore(active); got.Version != 5 || got.Credential != nil {
		t.Errorf("its answer is announced with version %d", got.Version)
	}
	o.State = journal.Planned
	versions = nil
	o.Conflict = true
	if got := restore(active); got.To != journal.Attention || got.Credential != nil {
		t.Errorf("a merchant that is another's by now: %+v", got)
	}
}

// Every reason that can be published of an operation means something for one
// that is restored.
func TestRestorer_EveryFailure(t *testing.T) {
	reasons := declaredReasons(t)
	known := map[Reason]bool{}
	for _, r := range reasons {
		known[r] = true
	}
	for _, typ := range []string{schemas.TypeInvitationFailed, schemas.TypeActivationFailed} {
		for _, reason := range schemas.FailureReasons(typ) {
			w, ok := publishedFailures[reason]
			if !ok || !known[w.reason] {
				t.Errorf("%s %s means nothing", typ, reason)
			}
			if w.word == PublishedAttention && AttentionFailure(w.reason) != reason {
				t.Errorf("%s is attention %s, which publishes %q", reason, w.reason, AttentionFailure(w.reason))
			}
		}
	}
}

// Credentials that were moved after the copy are current where they were moved to; those
// that were moved into the lost journal are lost.
func TestRestorer_MovedCredentials(t *testing.T) {
	for store, want := range map[string]struct {
		to     journal.State
		reason Reason
	}{
		schemas.StoreOpenBao: {journal.Done, ReasonActivated},
		schemas.StoreSealed:  {journal.Attention, ReasonCredentialsLost},
	} {
		o := restoredOp(journal.Activate, RestoredEnded, 0)
		c := journal.CurrentCredential{Review: journal.Review{
			Credential: journal.Credential{Shop: o.Shop, Version: 1, MerchantID: "merchant"}, State: journal.CredentialVerified, Operation: o.UUID, Run: o.Run, EventID: o.EventID,
		}, ActivatedAt: restoreAt, NextVersion: 2}
		ref, err := schemas.ParseReference(activatedIn(store).Credentials.Ref)
		if err != nil {
			t.Fatal(err)
		}
		next := c.Credential
		next.Version, next.Reference = 2, ref.String()
		drafts, told, err := NewPublisher("", "").Moved(c, next, ref, restoreAt)
		if err != nil || len(drafts) != 1 || told != 0 {
			t.Fatalf("%d events, %d told: %v", len(drafts), told, err)
		}
		m, err := drafts[0].Freeze(5)
		if err != nil {
			t.Fatal(err)
		}
		o.Results = []journal.PublishedEvent{{
			Event: drafts[0].ID, Type: schemas.TypeActivated, Shop: o.Shop, Operation: o.UUID, Causation: o.EventID, Sequence: 5, At: restoreAt, Version: 3, Reference: ref.String(), Message: m,
		}}
		got := NewRestorer(RestorerOptions{Now: func() time.Time { return restoreAt }})(o)
		if got.To != want.to || got.Reason != string(want.reason) {
			t.Errorf("%s: %v (%s), want %v (%s)", store, got.To, got.Reason, want.to, want.reason)
		}
		if store == schemas.StoreOpenBao && (got.Credential == nil || got.Credential.Reference != ref.String() || got.Active == nil || got.Active.Event != drafts[0].ID) {
			t.Errorf("%s: restored %+v, %+v", store, got.Credential, got.Active)
		}
	}
}
