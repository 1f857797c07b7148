package twin

import (
	"maps"
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
)

// tourShop is a shop for which no other call creates operations.
var tourShop = journal.ShopKey{Account: accounts[0], Shop: "tour"}

// toured creates an operation of that shop and claims it, together with all others that are due.
func (g *generator) toured(kind journal.Kind) *held {
	_ = g.deliverAs("tour", kind, tourShop)
	got, err := g.call("Claim", journal.ClaimRequest{Account: tourShop.Account, Kind: kind, Stage: journal.Call, Limit: 1000, Lease: time.Minute, Owner: "worker"})
	if err != nil {
		return nil
	}
	for _, o := range got[0].([]journal.ClaimedOperation) {
		if o.Shop == tourShop {
			return &held{ClaimedOperation: o, state: o.State}
		}
	}
	return nil
}

// answered sends an operation of that shop and saves its response.
func (g *generator) answered(h *held) bool {
	got, err := g.call("BeginAttempt", journal.AttemptStart{Ref: h.Ref, Attempt: h.Attempts + 1, SendBy: time.Second, Deadline: time.Second})
	if err != nil {
		return false
	}
	_, err = g.call("SaveResponse", journal.Receipt{Ref: h.Ref, Attempt: got[0].(journal.AttemptID), Sealed: g.seal("answer"), End: journal.AttemptEnd{Answered: true, Status: 200}})
	return err == nil
}

// tour takes that shop through states that random calls seldom reach.
func (g *generator) tour() {
	for round, to := range []journal.State{journal.Attention, journal.Done} {
		h := g.toured(journal.Activate)
		if h == nil || !g.answered(h) {
			continue
		}
		if round > 0 { // the version of the first round, and another merchant
			for back, merchant := range []string{"m-other", "m-tour"} {
				_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Received, To: journal.Stored, Credential: &journal.Credential{
					Shop: tourShop, Version: h.NextVersion - int64(back), Reference: "ref", MerchantID: merchant, Sealed: g.seal("token"),
				}})
			}
		}
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Received, To: journal.Stored, Credential: &journal.Credential{
			Shop: tourShop, Version: h.NextVersion, Reference: "ref", MerchantID: "m-tour", Sealed: g.seal("token"),
		}})
		t := journal.Transition{Ref: h.Ref, From: journal.Stored, To: to, Reason: "rejected"}
		if to == journal.Done {
			t.Active = &journal.ActiveUpdate{At: g.clock.at}
		}
		_, _ = g.call("Apply", t)
		_, _ = g.call("Responses", h.UUID)
		// By the second round the shop has newer credentials than the first version.
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: to, To: journal.Done, Reason: "person", Current: 1})
	}
	_, _ = g.call("CredentialVersion", tourShop, "ref")
	g.eraseDetails(slices.Min(slices.Collect(maps.Keys(g.ids.right["shop"]))))
	g.refusedMoves()
	g.tourOfDisconnect()
	g.tourOfSending()
	if h := g.toured(journal.Invite); h != nil {
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Claimed, To: journal.Waiting, Due: g.clock.at.Add(time.Hour)})
		_ = g.deliverAs("fresh", journal.Activate, tourShop, tourShop)
	}
}

// refusedMoves moves the credential of that shop in the ways that are refused.
func (g *generator) refusedMoves() {
	got, err := g.call("CurrentCredential", tourShop)
	if err != nil {
		return
	}
	c := got[0].(journal.CurrentCredential)
	for _, spoil := range []func(m *journal.CredentialMove){
		func(m *journal.CredentialMove) { m.Ref.Claim++ },
		func(m *journal.CredentialMove) { m.Credential.Version = c.Credential.Version },
		func(m *journal.CredentialMove) { m.Credential.MerchantID = "another" },
	} {
		m := journal.CredentialMove{Ref: c.Ref, Audit: journal.AuditEntry{Actor: "ann", Act: "credentials.moved"}, Credential: journal.Credential{
			Shop: tourShop, Version: c.NextVersion, Reference: "moved", MerchantID: c.Credential.MerchantID, Sealed: g.seal("moved"),
		}}
		spoil(&m)
		_, _ = g.call("MoveCredential", m)
	}
}

// tourOfDisconnect disconnects that shop, and destroys its secrets.
func (g *generator) tourOfDisconnect() {
	ask := journal.Intent{UUID: g.uuid("intent"), Actor: "anna", Act: "disconnect", Account: tourShop.Account, Shop: tourShop.Shop}
	_, _ = g.call("AppendIntent", ask, journal.AuditEntry{Actor: "anna", Act: "disconnect.asked"})
	got, err := g.call("PendingIntents", 1000, []int64(nil))
	if err != nil {
		return
	}
	for _, p := range got[0].([]journal.PendingIntent) {
		if p.UUID != ask.UUID {
			continue
		}
		end, d := g.intentEnd(p.ID), &journal.Disconnect{At: g.clock.at, DestroyAt: g.clock.at, Reason: "disconnected"}
		end.State = journal.IntentPerformed
		for _, shop := range []int64{1 << 40, p.ShopID, p.ShopID} { // the last one comes after the end
			_, _ = g.call("ActOnShop", perSide(func(s *side) any {
				own, ended := g.own(s, shop, end)
				return journal.ShopAction{Shop: own, Decide: func(x journal.ShopSituation) journal.ShopChange {
					change := journal.ShopChange{Intent: ended}
					if x.Active != nil {
						change.Disconnect = d
					}
					return change
				}}
			}))
		}
	}
	_, _ = g.call("PublishedCredential", tourShop)
	if got, err = g.call("ClaimDestructions", 1000, time.Minute); err != nil {
		return
	}
	for _, d := range got[0].([]journal.Destruction) {
		for range 2 {
			_, _ = g.call("EndDestruction", d, journal.AuditEntry{Actor: "worker", Act: "destroyed"})
		}
	}
}

// tourOfSending ends attempts of that shop in all ways.
func (g *generator) tourOfSending() {
	sent := func(to journal.State) (h *held, attempt journal.AttemptID) {
		if h = g.toured(journal.Activate); h == nil {
			return nil, 0
		}
		got, err := g.call("BeginAttempt", journal.AttemptStart{Ref: h.Ref, Attempt: h.Attempts + 1, SendBy: time.Second, Deadline: time.Second})
		if err != nil {
			return nil, 0
		}
		attempt = got[0].(journal.AttemptID)
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Sending, To: to, Reason: "toured", Attempt: attempt, End: g.end()})
		return h, attempt
	}
	for _, to := range []journal.State{journal.Attention, journal.Superseded, journal.Done, journal.Waiting} {
		if h, _ := sent(to); h != nil && to.Open() {
			_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: to, To: journal.Superseded, Reason: "toured"})
		}
	}
	if h, attempt := sent(journal.Unknown); h != nil { // its response is late
		_, _ = g.call("SaveResponse", journal.Receipt{Ref: h.Ref, Attempt: attempt, Sealed: g.seal("answer"), End: journal.AttemptEnd{Answered: true, Status: 200}})
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Received, To: journal.Done})
	}
	if h, _ := sent(journal.Unknown); h != nil { // behind the next
		_ = g.deliverAs("tour", journal.Activate, tourShop)
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Unknown, To: journal.Planned, Behind: true})
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Queued, To: journal.Superseded, Reason: "toured"})
		if next := g.toured(journal.Activate); next != nil {
			_, _ = g.call("Apply", journal.Transition{Ref: next.Ref, From: journal.Claimed, To: journal.Superseded, Reason: "toured"})
		}
	}
}

// lastTour runs at the end, because its last operation holds the shop's lane.
func (g *generator) lastTour() {
	if h := g.toured(journal.Activate); h != nil {
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Claimed, To: journal.Attention, Reason: "rights"})
	}
	if h := g.toured(journal.Activate); h != nil && g.answered(h) {
		_, _ = g.call("Apply", journal.Transition{Ref: h.Ref, From: journal.Received, To: journal.Unknown, Reason: "outcome_unknown"})
	}
}
