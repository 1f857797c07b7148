package onboarding

import "invoicebox-worker/internal/journal"

// An Edge is one permitted step of an operation.
type Edge struct {
	From, To journal.State
	When     string // what happened
}

// edges is the state machine. Whatever is not here never happens; [Permitted]
// guards every transition that the pool asks for. Only the recovery of a
// restored journal has rules of its own: [RestoreRows]. Steps marked "journal" are
// made by the journal itself: claims, ends of leases, receipts, plans.
var edges = []Edge{
	{journal.Queued, journal.Planned, "journal: the lane became free"},
	{journal.Queued, journal.Superseded, "journal: a newer address or another provider was chosen before anything was sent; or a newer code or address succeeded while this one, in doubt, was behind it"},
	{journal.Planned, journal.Superseded, "journal: a newer address or another provider was chosen before anything was sent"},
	{journal.Waiting, journal.Superseded, "journal: the same, and no attempt can have been executed"},
	{journal.Planned, journal.Queued, "journal: an activation goes before an invitation that waits for its address's cool-down"},
	{journal.Planned, journal.Claimed, "journal: claimed"},
	{journal.Waiting, journal.Claimed, "journal: claimed when due"},
	{journal.Claimed, journal.Planned, "journal: the lease ended; or given back: no permit, gate closed, store not ready, drained, address in its cool-down"},
	{journal.Claimed, journal.Queued, "journal: it is in doubt and a newer code or address goes first, instead of the probe; or an invitation lets its shop's activation end first"},
	{journal.Claimed, journal.Sending, "journal: permit taken, the attempt is durable, nothing was written yet"},
	{journal.Claimed, journal.Done, "it needs no call any more: over age, or the shop is active already"},
	{journal.Claimed, journal.Attention, "it cannot be sent: its address or code does not open, or is over age with doubt"},

	{journal.Sending, journal.Planned, "provably nothing was written, or our own token was refused"},
	{journal.Sending, journal.Waiting, "not executed, limited, or probably not executed (doubt)"},
	{journal.Sending, journal.Received, "journal: an activation's answer is durable"},
	{journal.Sending, journal.Done, "invited, or refused, or over age"},
	{journal.Sending, journal.Unknown, "no proof either way; or, by the journal, the lease ended"},
	{journal.Sending, journal.Attention, "lost, or a probe proved nothing, or our request, rights or address are wrong"},

	{journal.Received, journal.Received, "given back: the version was taken, the store is not ready"},
	{journal.Received, journal.Stored, "the secret is stored, its token is not verified yet"},
	{journal.Received, journal.Done, "stored and verified at once"},
	{journal.Received, journal.Attention, "unreadable, or the merchant conflicts"},
	{journal.Stored, journal.Stored, "the token is checked again later"},
	{journal.Stored, journal.Done, "verified, or published as pending"},
	{journal.Stored, journal.Attention, "the token was refused for the whole verification time"},
	{journal.Stored, journal.Superseded, "a newer code was activated while its token was verified"},

	{journal.Queued, journal.Received, "journal: the answer to an earlier request came after all"},
	{journal.Planned, journal.Received, "journal: the same; no probe is made any more"},
	{journal.Waiting, journal.Received, "journal: the same"},
	{journal.Claimed, journal.Received, "journal: the same; whoever holds it can send nothing"},
	{journal.Unknown, journal.Received, "journal: the answer came after all"},
	{journal.Unknown, journal.Unknown, "the quiet period is not over: a lease was ended, or the process is another"},
	{journal.Unknown, journal.Planned, "the quiet period is over: an activation's one probe, an invitation once more"},
	{journal.Unknown, journal.Attention, "the quiet period is over, and it was unknown before or is to be held"},
	{journal.Attention, journal.Received, "journal: the answer came after all"},
	{journal.Attention, journal.Superseded, "journal: it was in doubt, and a newer code or address succeeded; or its credentials had stopped working, and newer ones came"},
	{journal.Attention, journal.Planned, "journal: a new run; or a person asked for a probe or a retry"},
	{journal.Attention, journal.Queued, "journal: the same, behind the lane's head"},
	{journal.Attention, journal.Stored, "a person asked that the stored token be checked again"},
	{journal.Attention, journal.Done, "closed by a person; or merchant id and token were entered by hand and found to work; or, by a review, credentials that had stopped working work again"},
	{journal.Done, journal.Planned, "journal: a new run after a refusal"},
	{journal.Done, journal.Queued, "journal: a new run after a refusal, behind the lane's head"},
	{journal.Done, journal.Done, "late answers were compared: nothing new"},
	{journal.Done, journal.Attention, "a late answer brought another token; or, by the journal, a review: its credentials stopped working"},
	{journal.Superseded, journal.Superseded, "late answers were compared: nothing new"},
	{journal.Superseded, journal.Attention, "a late answer brought another token"},
	{journal.Attention, journal.Attention, "late answers were compared: nothing new, or another token"},
	{journal.Superseded, journal.Planned, "journal: a new run of an invitation that was never sent"},
	{journal.Superseded, journal.Queued, "journal: the same, behind the lane's head"},
}

// Edges returns the state machine, for documents and tests.
func Edges() []Edge { return append([]Edge(nil), edges...) }

// Permitted tells whether an operation may go from one state to another.
func Permitted(from, to journal.State) bool {
	for _, e := range edges {
		if e.From == from && e.To == to {
			return true
		}
	}
	return false
}
