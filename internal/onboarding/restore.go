package onboarding

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// RestorerOptions configure [NewRestorer].
type RestorerOptions struct {
	UnknownOutcome string           // "": ProbeOnce
	RemindAfter    []time.Duration  // see PlanReminder; none: no reminders
	Source         string           // "": DefaultSource
	Format         schemas.Format   // "": binary
	Now            func() time.Time // required
	DestroyAfter   time.Duration    // of secrets that were replaced since the copy; 0: DefaultDestroyAfter
}

type restorer struct {
	hold         bool
	after        []time.Duration
	out          Publisher
	now          func() time.Time
	destroyAfter time.Duration
}

// NewRestorer returns the rules by which an operation of a restored journal
// goes on: see [RestoreRows]. It calls nothing outside and keeps no state.
func NewRestorer(o RestorerOptions) journal.Restorer {
	r := restorer{hold: o.UnknownOutcome == Hold, after: o.RemindAfter, out: NewPublisher(o.Source, o.Format), now: o.Now, destroyAfter: cmp.Or(o.DestroyAfter, DefaultDestroyAfter)}
	return r.restore
}

// A RestoredState is where an operation stands in the copy, after what was being
// sent when it was made has become unknown.
type RestoredState string

// The places.
const (
	RestoredQueued    RestoredState = "queued"    // behind others of its shop
	RestoredToCall    RestoredState = "to call"   // planned, waiting, claimed, unknown
	RestoredAnswered  RestoredState = "answered"  // received, stored: its answer lies in the copy
	RestoredAttention RestoredState = "attention" // waits for a person
	RestoredEnded     RestoredState = "ended"
)

// A PublishedState is what the result topics say of an operation's run, the last
// event counts.
type PublishedState string

// The words.
const (
	PublishedNothing      PublishedState = "nothing"
	PublishedInvited      PublishedState = "invited"
	PublishedActivated    PublishedState = "activated, its reference resolves"
	PublishedSecretLost   PublishedState = "activated, its secret was in the lost file"
	PublishedReplaced     PublishedState = "activated, its secret was in the lost file, and that of a newer activation of the shop resolves"
	PublishedConflict     PublishedState = "activated, and its merchant is another shop's"
	PublishedDisconnected PublishedState = "disconnected"
	PublishedFailed       PublishedState = "failed for good"
	PublishedAttention    PublishedState = "failed, waits for a person"
	PublishedResponseLost PublishedState = "failed, over an answer that was kept in the lost file"
)

// What came of an operation, for the report of a recovery.
const (
	outcomeEnded            = "ended, as was published"
	outcomeActive           = "active, as was published"
	outcomeAttention        = "in attention, as was published"
	outcomeLost             = "in attention, credentials lost"
	outcomeConflict         = "in attention, merchant conflict"
	outcomeUnknown          = "unknown, asked once more"
	outcomeDoubt            = "in doubt, asked once more in its turn"
	outcomeUnknownAttention = "in attention, unknown"
	outcomeResponse         = "goes on from its answer"
	outcomeUntouched        = "waits for a person as before"
)

// A RestoreRule says what comes of an operation. The first row that fits
// decides.
type RestoreRule struct {
	Kind      journal.Kind  // 0 is any
	State     RestoredState // "" is any
	Published PublishedState
	Hold      bool // only where nothing in doubt may be sent
	Spent     bool // only where an attempt was unknown in the copy already

	To      journal.State // 0: as it is
	Reason  Reason        // "": what the event says
	Doubt   bool
	Unknown bool                  // counts as one more unknown attempt
	Failure schemas.FailureReason // is published
	Outcome string
}

var restoreRules = []RestoreRule{
	// Its answer is here: it goes on, and what it publishes again has the bytes
	// that were published.
	{Kind: journal.Activate, State: RestoredAnswered, Published: PublishedNothing, Outcome: outcomeResponse},
	{Kind: journal.Activate, State: RestoredAnswered, Published: PublishedActivated, Outcome: outcomeResponse},
	{Kind: journal.Activate, State: RestoredAnswered, Published: PublishedSecretLost, Outcome: outcomeResponse},
	{Kind: journal.Activate, State: RestoredAnswered, Published: PublishedReplaced, Outcome: outcomeResponse},
	{Kind: journal.Activate, State: RestoredAnswered, Published: PublishedConflict, Outcome: outcomeResponse},
	{Kind: journal.Activate, State: RestoredAnswered, Published: PublishedResponseLost, Outcome: outcomeResponse},

	// What was published holds.
	{Kind: journal.Invite, Published: PublishedInvited, To: journal.Done, Outcome: outcomeEnded},
	{Kind: journal.Activate, Published: PublishedDisconnected, To: journal.Done, Reason: ReasonDisconnected, Outcome: outcomeEnded},
	{Published: PublishedFailed, To: journal.Done, Outcome: outcomeEnded},
	{Published: PublishedAttention, To: journal.Attention, Doubt: true, Outcome: outcomeAttention},
	{Kind: journal.Activate, Published: PublishedActivated, To: journal.Done, Reason: ReasonActivated, Outcome: outcomeActive},
	// The shop needs no new code.
	{Kind: journal.Activate, Published: PublishedReplaced, To: journal.Done, Reason: ReasonActivated, Outcome: outcomeEnded},
	{Kind: journal.Activate, Published: PublishedSecretLost, To: journal.Attention, Reason: ReasonCredentialsLost, Doubt: true, Failure: schemas.FailureCredentialsLost, Outcome: outcomeLost},
	{Kind: journal.Activate, Published: PublishedConflict, To: journal.Attention, Reason: ReasonMerchantConflict, Doubt: true, Failure: schemas.FailureMerchantConflict, Outcome: outcomeConflict},
	{Kind: journal.Activate, Published: PublishedResponseLost, To: journal.Attention, Reason: ReasonCredentialsLost, Doubt: true, Failure: schemas.FailureCredentialsLost, Outcome: outcomeLost},

	// Nothing was published: it may have been sent all the same.
	{Kind: journal.Activate, State: RestoredToCall, Published: PublishedNothing, Hold: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Outcome: outcomeUnknownAttention},
	{Kind: journal.Activate, State: RestoredQueued, Published: PublishedNothing, Hold: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Outcome: outcomeUnknownAttention},
	{State: RestoredToCall, Published: PublishedNothing, Spent: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Outcome: outcomeUnknownAttention},
	{State: RestoredQueued, Published: PublishedNothing, Spent: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Outcome: outcomeUnknownAttention},
	{State: RestoredToCall, Published: PublishedNothing, To: journal.Unknown, Reason: ReasonRestored, Doubt: true, Unknown: true, Outcome: outcomeUnknown},
	{State: RestoredQueued, Published: PublishedNothing, Doubt: true, Unknown: true, Outcome: outcomeDoubt},
	// A person may have let it be sent since.
	{State: RestoredAttention, Published: PublishedNothing, Doubt: true, Outcome: outcomeUntouched},
}

// RestoreRules returns the table, for documents and tests.
func RestoreRules() []RestoreRule { return slices.Clone(restoreRules) }

func restoreRuleOf(kind journal.Kind, place RestoredState, word PublishedState, hold, spent bool) (RestoreRule, bool) {
	for _, r := range restoreRules {
		switch {
		case r.Kind != 0 && r.Kind != kind, r.State != "" && r.State != place, r.Published != word, r.Hold && !hold, r.Spent && !spent:
		default:
			return r, true
		}
	}
	return RestoreRule{}, false
}

func restoredStateOf(s journal.State) RestoredState {
	switch s {
	case journal.Queued:
		return RestoredQueued
	case journal.Received, journal.Stored:
		return RestoredAnswered
	case journal.Attention:
		return RestoredAttention
	case journal.Done, journal.Superseded:
		return RestoredEnded
	}
	return RestoredToCall
}

// publishedFailures says what a published failure means for its operation.
var publishedFailures = map[schemas.FailureReason]struct {
	word   PublishedState
	reason Reason
}{
	schemas.FailureAddressRejected:    {PublishedFailed, ReasonRefusedAddress},
	schemas.FailureCodeRejected:       {PublishedFailed, ReasonRefusedCode},
	schemas.FailureExpired:            {PublishedFailed, ReasonExpired},
	schemas.FailureClosed:             {PublishedFailed, ReasonClosed},
	schemas.FailureProviderChanged:    {PublishedFailed, ReasonDeselected},
	schemas.FailureCodeOfOtherShop:    {PublishedAttention, ReasonCodeOfOtherShop},
	schemas.FailureOutcomeUnknown:     {PublishedAttention, ReasonOutcomeUnknown},
	schemas.FailureOutcomeLost:        {PublishedAttention, ReasonOutcomeLost},
	schemas.FailureRequestRejected:    {PublishedAttention, ReasonRequestRejected},
	schemas.FailureCredentialsLost:    {PublishedAttention, ReasonCredentialsLost},
	schemas.FailureAnswerUnreadable:   {PublishedResponseLost, ReasonAnswerUnreadable},
	schemas.FailureCredentialsInvalid: {PublishedResponseLost, ReasonCredentialsInvalid},
	schemas.FailureMerchantConflict:   {PublishedResponseLost, ReasonMerchantConflict},
	schemas.FailureStoreConflict:      {PublishedResponseLost, ReasonStoreConflict},
	schemas.FailureSecondToken:        {PublishedResponseLost, ReasonSecondToken},
}

// invitedReasons are those of ended invitations by what was announced.
var invitedReasons = map[schemas.InvitationOutcome]Reason{
	schemas.OutcomeSent: ReasonSent, schemas.OutcomeAlreadyInvited: ReasonAlreadyInvited, schemas.OutcomeAlreadyActive: ReasonAlreadyActive,
}

// A published is the last word of a run.
type published struct {
	word    PublishedState
	reason  Reason
	run     int
	invited *schemas.Invited
	active  *schemas.Activated // of the run, also where a failure came after it
	// Of active: the journal's number of the credentials, the event, and whether its
	// reference resolves.
	version   int64
	activated uuid.UUID
	resolves  bool
}

// lastPublished reads the results of an operation's run.
func lastPublished(o journal.RestoredOperation) published {
	p := published{word: PublishedNothing}
	for _, a := range o.Results {
		e, err := schemas.DecodeOutput(a.Message)
		if err != nil {
			continue
		}
		run, own := runOf(o, a, e)
		if !own {
			continue // an answer to an event, or somebody else's
		}
		p.run = max(p.run, run)
		switch d := e.Data.(type) {
		case schemas.Invited:
			p.word, p.reason, p.invited = PublishedInvited, invitedReasons[d.Outcome], &d
		case schemas.Activated:
			p.word, p.active, p.version, p.activated = PublishedSecretLost, &d, a.Version, a.Event
			p.resolves = resolves(o, d.Credentials.Ref)
			switch {
			case p.resolves:
				p.word = PublishedActivated
			case o.Newest != d.Credentials.Ref && resolves(o, o.Newest):
				p.word = PublishedReplaced
			}
			if held, ok := o.Versions[d.Credentials.Ref]; ok {
				p.version = held
			}
		case schemas.Disconnected:
			p.word = PublishedDisconnected
		case schemas.InvitationFailed:
			p.word, p.reason = publishedFailures[d.Reason].word, publishedFailures[d.Reason].reason
		case schemas.ActivationFailed:
			p.word, p.reason = publishedFailures[d.Reason].word, publishedFailures[d.Reason].reason
		}
	}
	return p
}

// resolves tells whether a reference names credentials that outlived the lost journal.
// Versions are not compared: each store numbers by itself.
func resolves(o journal.RestoredOperation, text string) bool {
	if _, held := o.Versions[text]; held {
		return true
	}
	ref, _ := schemas.ParseReference(text)
	return ref.External()
}

// runsAhead is how many runs beyond the copy's are looked for.
const runsAhead = 64

// runOf finds the run that an event speaks of: an id is made of operation, run
// and type, of a failure that may come again also of its reason, and of credentials
// that were moved also of their reference.
func runOf(o journal.RestoredOperation, a journal.PublishedEvent, e schemas.Event) (int, bool) {
	types := []string{a.Type}
	switch d := e.Data.(type) {
	case schemas.ActivationFailed:
		types = append(types, a.Type+"/"+string(d.Reason))
	case schemas.Activated:
		types = append(types, a.Type+"/"+d.Credentials.Ref)
	case schemas.Unanswered:
		types = append(types, reminderType(d.Reminder))
	}
	for run := max(o.Run, 1); run < o.Run+runsAhead; run++ {
		for _, typ := range types {
			if schemas.EventID(o.UUID, run, typ) == a.Event {
				return run, true
			}
		}
	}
	return 0, false
}

func (r restorer) restore(o journal.RestoredOperation) journal.Restoration {
	p := lastPublished(o)
	if p.word == PublishedNothing && !o.Last {
		return journal.Restoration{}
	}
	if o.Conflict && p.word == PublishedActivated {
		// The merchant is another's by now: what was announced cannot be kept, although
		// its secret is where it was.
		p.word = PublishedConflict
	}
	row, ok := restoreRuleOf(o.Kind, restoredStateOf(o.State), p.word, r.hold, o.Unknowns > 0)
	if !ok || row.To == 0 && !row.Unknown && p.active == nil && (o.Doubt || !row.Doubt) {
		return journal.Restoration{}
	}
	out := journal.Restoration{To: row.To, Reason: string(row.Reason), Doubt: row.Doubt, Unknown: row.Unknown, Run: p.run, Word: row.Outcome}
	if out.Reason == "" {
		out.Reason = string(p.reason)
	}
	now := r.now()
	if row.Failure != "" {
		if row.Reason == ReasonCredentialsLost || row.Reason == ReasonMerchantConflict {
			// What is published from now on must have ids of its own.
			out.Run = max(p.run, o.Run) + 1
			o.Run = out.Run
		}
		out.Publish = []journal.Draft{r.out.Failed(o.ClaimedOperation, row.Failure, now)}
	}
	switch {
	case p.invited != nil && row.To == journal.Done && p.invited.Outcome != schemas.OutcomeAlreadyActive:
		out.Invited = &journal.InvitedUpdate{At: p.invited.InvitedAt, InvitationID: p.invited.InvitationID}
		// One that was published already has the same id, and is published again.
		out.Invited.Remind = FirstReminder(r.after, p.invited.InvitedAt)
	case p.active == nil:
	case row.To == 0:
		out.Version = p.version
	case p.resolves && !o.Conflict:
		// Also where a failure came after it: that is of another token.
		out.Credential = &journal.Credential{
			Shop: o.Shop, Version: p.version, Reference: p.active.Credentials.Ref, MerchantID: p.active.MerchantID,
		}
		if p.word == PublishedDisconnected {
			break // its secret is still to be destroyed
		}
		out.Active = &journal.ActiveUpdate{At: p.active.ActivatedAt, Event: p.activated, DestroyAt: DestroyAt(now, r.destroyAfter)}
	default:
		out.MerchantID = p.active.MerchantID
	}
	return out
}
