package onboarding

import "invoicebox-worker/internal/journal"

// An Edge is one permitted step of an operation.
type Edge struct {
	From, To journal.State
	When     string // what happened
}

// edges is the state machine. Whatever is not here never happens; [Permitted]
// guards every transition that the engine asks for. Only the recovery of a
// restored journal has rules of its own: [RestoreRows]. Steps marked "journal" are
// made by the journal itself: claims, ends of leases, receipts, plans.
var edges = []Edge{
	{journal.Queued, journal.Planned, "journal: the lane became free"},
	{journal.Queued, journal.Superseded, "journal: a newer address or another provider was chosen before anything was sent; or a newer code or address succeeded while this operation, in doubt, was behind it; or the shop was disconnected"},
	{journal.Planned, journal.Superseded, "journal: a newer address or another provider was chosen before anything was sent; or the shop was disconnected"},
	{journal.Waiting, journal.Superseded, "journal: a newer address or another provider was chosen, and no attempt can have been executed; or the shop was disconnected"},
	{journal.Planned, journal.Queued, "journal: an activation goes before an invitation that waits for its address's cool-down"},
	{journal.Planned, journal.Claimed, "journal: claimed"},
	{journal.Waiting, journal.Claimed, "journal: claimed when due"},
	{journal.Claimed, journal.Planned, "journal: the lease ended; or released: no permit, account closed, store not ready, drained, address in its cool-down"},
	{journal.Claimed, journal.Queued, "journal: it is in doubt and a newer code or address goes before its probe; or an invitation waits for the end of its shop's activation"},
	{journal.Claimed, journal.Sending, "journal: the permit is taken and the attempt is durable; nothing was written yet"},
	{journal.Claimed, journal.Done, "no call is needed any more: too old, or the shop is active already"},
	{journal.Claimed, journal.Attention, "it cannot be sent: its address or code cannot be decrypted, or it is too old and in doubt"},

	{journal.Sending, journal.Planned, "nothing was written, or the partner's token was refused"},
	{journal.Sending, journal.Waiting, "not executed, limited, or probably not executed (doubt)"},
	{journal.Sending, journal.Received, "journal: the response to an activation is durable"},
	{journal.Sending, journal.Done, "invited, refused, or too old"},
	{journal.Sending, journal.Unknown, "no proof either way; or, by the journal, the lease ended"},
	{journal.Sending, journal.Attention, "lost, or a probe proved nothing, or our request, rights or address are wrong"},

	{journal.Received, journal.Received, "released: the version was taken, or the store is not ready"},
	{journal.Received, journal.Stored, "the secret is stored, its token is not verified yet"},
	{journal.Received, journal.Done, "stored and verified at once"},
	{journal.Received, journal.Attention, "the response is unreadable, or the merchant conflicts"},
	{journal.Stored, journal.Stored, "the token is checked again later"},
	{journal.Stored, journal.Done, "verified, or published as pending"},
	{journal.Stored, journal.Attention, "the token was refused for the whole verification time"},
	{journal.Stored, journal.Superseded, "a newer code was activated while its token was verified"},

	{journal.Queued, journal.Received, "journal: a late response to an earlier request was saved"},
	{journal.Planned, journal.Received, "journal: a late response was saved; no probe is sent any more"},
	{journal.Waiting, journal.Received, "journal: a late response was saved"},
	{journal.Claimed, journal.Received, "journal: a late response was saved; the holder of the claim can send nothing"},
	{journal.Unknown, journal.Received, "journal: a late response was saved"},
	{journal.Unknown, journal.Unknown, "the quiet period is not over: a lease was ended, or the process is another"},
	{journal.Unknown, journal.Planned, "the quiet period is over: the one probe of an activation, or one more invitation"},
	{journal.Unknown, journal.Attention, "the quiet period is over, and the outcome was unknown before or the setting is hold"},
	{journal.Attention, journal.Received, "journal: a late response was saved"},
	{journal.Attention, journal.Superseded, "journal: it was in doubt, and a newer code or address succeeded; or its credentials had stopped working, and newer ones came"},
	{journal.Attention, journal.Planned, "journal: a new run; or an operator asked for a probe or a retry"},
	{journal.Attention, journal.Queued, "journal: a new run, or an operator asked for a probe or a retry, behind the lane's head"},
	{journal.Attention, journal.Stored, "an operator asked for another check of the stored token"},
	{journal.Attention, journal.Done, "closed by an operator; or merchant id and token were entered and found to work; or credentials that had stopped working work again"},
	{journal.Done, journal.Planned, "journal: a new run after a refusal"},
	{journal.Done, journal.Queued, "journal: a new run after a refusal, behind the lane's head"},
	{journal.Done, journal.Done, "late responses were compared: nothing new"},
	{journal.Done, journal.Attention, "a late response brought another token; or, by the journal, the credentials stopped working"},
	{journal.Superseded, journal.Superseded, "late responses were compared: nothing new"},
	{journal.Superseded, journal.Attention, "a late response brought another token"},
	{journal.Attention, journal.Attention, "late responses were compared: nothing new, or another token"},
	{journal.Superseded, journal.Planned, "journal: a new run of what was never sent"},
	{journal.Superseded, journal.Queued, "journal: a new run of what was never sent, behind the lane's head"},
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
