package onboarding

import (
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// RestorerOptions configure [NewRestorer].
type RestorerOptions struct {
	UnknownOutcome string           // "": ProbeOnce
	Source         string           // "": DefaultSource
	Format         schemas.Format   // "": binary
	Now            func() time.Time // required
}

type restorer struct {
	hold bool
	out  Publisher
	now  func() time.Time
}

// NewRestorer returns the rules by which an operation of a restored journal
// goes on: see [RestoreRows]. It calls nothing outside and keeps no state.
func NewRestorer(o RestorerOptions) journal.Restorer {
	r := restorer{hold: o.UnknownOutcome == Hold, out: NewPublisher(o.Source, o.Format), now: o.Now}
	return r.restore
}

// A RestorePlace is where an operation stands in the copy, after what was being
// sent when it was made has become unknown.
type RestorePlace string

// The places.
const (
	PlaceQueued   RestorePlace = "queued"    // behind others of its shop
	PlaceToCall   RestorePlace = "to call"   // planned, waiting, claimed, unknown
	PlaceAnswered RestorePlace = "answered"  // received, stored: its answer lies in the copy
	PlacePerson   RestorePlace = "attention" // waits for a person
	PlaceEnded    RestorePlace = "ended"
)

// A RestoreWord is what the result topics say of an operation's run, the last
// event counts.
type RestoreWord string

// The words.
const (
	WordNothing    RestoreWord = "nothing"
	WordInvited    RestoreWord = "invited"
	WordActivated  RestoreWord = "activated, its reference resolves"
	WordSecretGone RestoreWord = "activated, its secret was in the lost file"
	WordFailed     RestoreWord = "failed for good"
	WordPerson     RestoreWord = "failed, waits for a person"
	WordKept       RestoreWord = "failed, over an answer that was kept in the lost file"
)

// What came of an operation, for the report of a recovery.
const (
	cameEnded     = "ended, as was published"
	cameActive    = "active, as was published"
	cameAttention = "in attention, as was published"
	cameLost      = "in attention, credentials lost"
	cameUnknown   = "unknown, asked once more"
	cameDoubt     = "in doubt, asked once more in its turn"
	camePerson    = "in attention, unknown"
	cameAnswer    = "goes on from its answer"
	cameUntouched = "waits for a person as before"
)

// A RestoreRow says what comes of an operation. The first row that fits
// decides.
type RestoreRow struct {
	Kind  journal.Kind // 0 is any
	Place RestorePlace // "" is any
	Word  RestoreWord
	Hold  bool // only where nothing in doubt may be sent
	Spent bool // only where an attempt was unknown in the copy already

	To      journal.State // 0: as it is
	Reason  Reason        // "": what the event says
	Doubt   bool
	Unknown bool                  // counts as one more unknown attempt
	Failure schemas.FailureReason // is published
	Came    string
}

var restoreRows = []RestoreRow{
	// Its answer is here: it goes on, and what it publishes again has the bytes
	// that were published.
	{Kind: journal.Activate, Place: PlaceAnswered, Word: WordNothing, Came: cameAnswer},
	{Kind: journal.Activate, Place: PlaceAnswered, Word: WordActivated, Came: cameAnswer},
	{Kind: journal.Activate, Place: PlaceAnswered, Word: WordSecretGone, Came: cameAnswer},
	{Kind: journal.Activate, Place: PlaceAnswered, Word: WordKept, Came: cameAnswer},

	// What was published holds.
	{Kind: journal.Invite, Word: WordInvited, To: journal.Done, Came: cameEnded},
	{Word: WordFailed, To: journal.Done, Came: cameEnded},
	{Word: WordPerson, To: journal.Attention, Doubt: true, Came: cameAttention},
	{Kind: journal.Activate, Word: WordActivated, To: journal.Done, Reason: ReasonActivated, Came: cameActive},
	{Kind: journal.Activate, Word: WordSecretGone, To: journal.Attention, Reason: ReasonCredentialsLost, Doubt: true, Failure: schemas.FailureCredentialsLost, Came: cameLost},
	{Kind: journal.Activate, Word: WordKept, To: journal.Attention, Reason: ReasonCredentialsLost, Doubt: true, Failure: schemas.FailureCredentialsLost, Came: cameLost},

	// Nothing was published: it may have been sent all the same.
	{Kind: journal.Activate, Place: PlaceToCall, Word: WordNothing, Hold: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Came: camePerson},
	{Kind: journal.Activate, Place: PlaceQueued, Word: WordNothing, Hold: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Came: camePerson},
	{Place: PlaceToCall, Word: WordNothing, Spent: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Came: camePerson},
	{Place: PlaceQueued, Word: WordNothing, Spent: true, To: journal.Attention, Reason: ReasonOutcomeUnknown, Doubt: true, Unknown: true, Failure: schemas.FailureOutcomeUnknown, Came: camePerson},
	{Place: PlaceToCall, Word: WordNothing, To: journal.Unknown, Reason: ReasonRestored, Doubt: true, Unknown: true, Came: cameUnknown},
	{Place: PlaceQueued, Word: WordNothing, Doubt: true, Unknown: true, Came: cameDoubt},
	// A person may have let it be sent since.
	{Place: PlacePerson, Word: WordNothing, Doubt: true, Came: cameUntouched},
}

// RestoreRows returns the table, for documents and tests.
func RestoreRows() []RestoreRow { return slices.Clone(restoreRows) }

func restoreRowOf(kind journal.Kind, place RestorePlace, word RestoreWord, hold, spent bool) (RestoreRow, bool) {
	for _, r := range restoreRows {
		switch {
		case r.Kind != 0 && r.Kind != kind, r.Place != "" && r.Place != place, r.Word != word, r.Hold && !hold, r.Spent && !spent:
		default:
			return r, true
		}
	}
	return RestoreRow{}, false
}

func placeOf(s journal.State) RestorePlace {
	switch s {
	case journal.Queued:
		return PlaceQueued
	case journal.Received, journal.Stored:
		return PlaceAnswered
	case journal.Attention:
		return PlacePerson
	case journal.Done, journal.Superseded:
		return PlaceEnded
	}
	return PlaceToCall
}

// failureWords says what a published failure means for its operation.
var failureWords = map[schemas.FailureReason]struct {
	word   RestoreWord
	reason Reason
}{
	schemas.FailureAddressRejected:    {WordFailed, ReasonRefusedAddress},
	schemas.FailureCodeRejected:       {WordFailed, ReasonRefusedCode},
	schemas.FailureExpired:            {WordFailed, ReasonExpired},
	schemas.FailureClosed:             {WordFailed, ReasonClosed},
	schemas.FailureProviderChanged:    {WordFailed, ReasonDeselected},
	schemas.FailureCodeOfOtherShop:    {WordPerson, ReasonCodeOfOtherShop},
	schemas.FailureOutcomeUnknown:     {WordPerson, ReasonOutcomeUnknown},
	schemas.FailureOutcomeLost:        {WordPerson, ReasonOutcomeLost},
	schemas.FailureRequestRejected:    {WordPerson, ReasonRequestRejected},
	schemas.FailureCredentialsLost:    {WordPerson, ReasonCredentialsLost},
	schemas.FailureAnswerUnreadable:   {WordKept, ReasonAnswerUnreadable},
	schemas.FailureCredentialsInvalid: {WordKept, ReasonCredentialsInvalid},
	schemas.FailureMerchantConflict:   {WordKept, ReasonMerchantConflict},
	schemas.FailureStoreConflict:      {WordKept, ReasonStoreConflict},
	schemas.FailureSecondToken:        {WordKept, ReasonSecondToken},
}

// invitedReasons are those of ended invitations by what was announced.
var invitedReasons = map[schemas.InvitationOutcome]Reason{
	schemas.OutcomeSent: ReasonSent, schemas.OutcomeAlreadyInvited: ReasonAlreadyInvited, schemas.OutcomeAlreadyActive: ReasonAlreadyActive,
}

// A published is the last word of a run.
type published struct {
	word    RestoreWord
	reason  Reason
	run     int
	event   journal.PublishedEvent
	invited *schemas.Invited
	active  *schemas.Activated // of the run, also where a failure came after it
}

// lastWord reads the results of an operation's run.
func lastWord(o journal.RestoredOperation) published {
	p := published{word: WordNothing}
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
			p.word, p.reason, p.event, p.invited = WordInvited, invitedReasons[d.Outcome], a, &d
		case schemas.Activated:
			p.word, p.event, p.active = WordSecretGone, a, &d
			if a.Held || d.Credentials.Store != schemas.StoreSealed {
				p.word = WordActivated
			}
		case schemas.InvitationFailed:
			p.word, p.reason, p.event = failureWords[d.Reason].word, failureWords[d.Reason].reason, a
		case schemas.ActivationFailed:
			p.word, p.reason, p.event = failureWords[d.Reason].word, failureWords[d.Reason].reason, a
		}
	}
	return p
}

// runsAhead is how many runs beyond the copy's are looked for.
const runsAhead = 64

// runOf finds the run that an event speaks of: an id is made of operation, run
// and type, and of a failure that may come again also of its reason.
func runOf(o journal.RestoredOperation, a journal.PublishedEvent, e schemas.Event) (int, bool) {
	types := []string{a.Type}
	if d, ok := e.Data.(schemas.ActivationFailed); ok {
		types = append(types, a.Type+"/"+string(d.Reason))
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
	p := lastWord(o)
	if p.word == WordNothing && !o.Last {
		return journal.Restoration{}
	}
	if o.Conflict && p.word == WordActivated {
		// The merchant is another's by now: what was announced cannot be kept.
		p.word = WordSecretGone
	}
	row, ok := restoreRowOf(o.Kind, placeOf(o.State), p.word, r.hold, o.Unknowns > 0)
	if !ok || row.To == 0 && !row.Unknown && p.active == nil && (o.Doubt || !row.Doubt) {
		return journal.Restoration{}
	}
	out := journal.Restoration{To: row.To, Reason: string(row.Reason), Doubt: row.Doubt, Unknown: row.Unknown, Run: p.run, Word: row.Came}
	if out.Reason == "" {
		out.Reason = string(p.reason)
	}
	now := r.now()
	if row.Failure != "" {
		if row.Reason == ReasonCredentialsLost {
			// What is published from now on must have ids of its own.
			out.Run = max(p.run, o.Run) + 1
			o.Run = out.Run
		}
		out.Publish = []journal.Draft{r.out.Failed(o.ClaimedOperation, row.Failure, now)}
	}
	switch {
	case p.invited != nil && row.To == journal.Done && p.invited.Outcome != schemas.OutcomeAlreadyActive:
		out.Invited = &journal.InvitedUpdate{At: p.invited.InvitedAt, InvitationID: p.invited.InvitationID}
	case p.active == nil:
	case row.To == 0:
		out.Version = p.active.Credentials.Version
	case row.To == journal.Done:
		out.Credential = &journal.Credential{
			Shop: o.Shop, Version: p.active.Credentials.Version, Reference: p.active.Credentials.Ref, MerchantID: p.active.MerchantID,
		}
		out.Active = &journal.ActiveUpdate{At: p.active.ActivatedAt, Event: p.event.Event}
	default:
		out.MerchantID = p.active.MerchantID
	}
	return out
}
