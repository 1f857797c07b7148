package onboarding

import (
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Reviews of credentials that shops use.
const (
	// DefaultVerifyEvery is how often credentials that work are looked at again.
	DefaultVerifyEvery = 24 * time.Hour
	// NoVerifyEvery turns that off.
	NoVerifyEvery = time.Duration(-1)
	// RefusedInRow is how many different shops of an account, refused in a row
	// with no success between, speak against the check and not against the shops:
	// from then on none of them is announced until one works.
	RefusedInRow = 10
	// reviewShare is the part of the egress ledger that reviews may use: one in so
	// many permits.
	reviewShare = 10
)

// reviewNext is when credentials are looked at next.
type reviewNext uint8

const (
	onSchedule reviewNext = iota // of the schedule
	soon                         // growing, up to ReviewCap
	toConfirm                    // the same, and when the verification time is over
)

// A reviewRow says what follows a look at the current credentials of a shop.
// Confirmed are refusals, and nothing else, over the whole verification time,
// that are not withheld because the account's shops are refused in a row.
type reviewRow struct {
	state     journal.CredentialState
	answer    journal.ReviewAnswer
	confirmed bool

	to    journal.CredentialState
	next  reviewNext
	event string                  // type of the event to publish, or ""
	move  *journal.ActivationMove // of the activation, or nil
}

// What a review does to the activation that brought the credentials.
var (
	toAttention   = &journal.ActivationMove{From: journal.Done, To: journal.Attention, Reason: string(ReasonCredentialsInvalid)}
	fromAttention = &journal.ActivationMove{From: journal.Attention, To: journal.Done, Was: string(ReasonCredentialsInvalid), Reason: string(ReasonActivated)}
	// replaced: nobody has to look any more at what a newer activation has mended.
	replaced = &journal.ActivationMove{From: journal.Attention, To: journal.Superseded, Was: string(ReasonCredentialsInvalid), Reason: string(ReasonNewerCode)}
)

// reviewRows is the whole machine of verification after the announcement; a row
// for each state and answer. No answer proves nothing.
var reviewRows = []reviewRow{
	{journal.CredentialPending, journal.ReviewSilent, false, journal.CredentialPending, soon, "", nil},
	{journal.CredentialPending, journal.ReviewAccepted, false, journal.CredentialVerified, onSchedule, schemas.TypeCredentialsVerified, nil},
	{journal.CredentialPending, journal.ReviewRefused, false, journal.CredentialPending, toConfirm, "", nil},
	{journal.CredentialPending, journal.ReviewRefused, true, journal.CredentialInvalid, onSchedule, schemas.TypeCredentialsInvalid, toAttention},

	{journal.CredentialVerified, journal.ReviewSilent, false, journal.CredentialVerified, soon, "", nil},
	{journal.CredentialVerified, journal.ReviewAccepted, false, journal.CredentialVerified, onSchedule, "", nil},
	{journal.CredentialVerified, journal.ReviewRefused, false, journal.CredentialVerified, toConfirm, "", nil},
	{journal.CredentialVerified, journal.ReviewRefused, true, journal.CredentialInvalid, onSchedule, schemas.TypeCredentialsInvalid, toAttention},

	{journal.CredentialInvalid, journal.ReviewSilent, false, journal.CredentialInvalid, onSchedule, "", nil},
	{journal.CredentialInvalid, journal.ReviewAccepted, false, journal.CredentialVerified, onSchedule, schemas.TypeCredentialsVerified, fromAttention},
	{journal.CredentialInvalid, journal.ReviewRefused, false, journal.CredentialInvalid, onSchedule, "", nil},
	{journal.CredentialInvalid, journal.ReviewRefused, true, journal.CredentialInvalid, onSchedule, "", nil},
}

func reviewRowOf(state journal.CredentialState, answer journal.ReviewAnswer, confirmed bool) reviewRow {
	for _, r := range reviewRows {
		if r.state == state && r.answer == answer && r.confirmed == (confirmed && answer == journal.ReviewRefused) {
			return r
		}
	}
	return reviewRow{state: state, answer: answer, to: state, next: soon}
}

// reviewDue is when credentials are looked at next, and whether nothing is open
// until then. Refused is since when they are refused, zero where they are not.
func (p *Pool) reviewDue(row reviewRow, tries int, refused, now time.Time) (due time.Time, routine bool) {
	wait := p.jitter(growing(2*p.cfg.ReviewBase, p.cfg.ReviewCap, tries))
	switch row.next {
	case soon:
		return now.Add(wait), row.to != journal.CredentialPending && refused.IsZero()
	case toConfirm:
		if left := refused.Add(p.cfg.VerifyFor).Sub(now); left > 0 {
			wait = max(time.Second, min(wait, left))
		}
		return now.Add(wait), false
	}
	return now.Add(p.reviewAgain()), true
}

// reviewAgain is drawn anew for each look, so that shops that came together do
// not stay together. Without a schedule it is kept for the day when there is one.
func (p *Pool) reviewAgain() time.Duration {
	if p.cfg.VerifyEvery == NoVerifyEvery {
		return p.jitter(DefaultVerifyEvery)
	}
	return p.jitter(p.cfg.VerifyEvery)
}

// reviewPermit is the ledger that keeps reviews a small part of what goes out.
func (c Config) reviewPermit() journal.Permit {
	p := c.egress()
	p.Ledger, p.Limit = EgressLedger+"/reviews", max(1, p.Limit/reviewShare)
	return p
}
