package twin

import (
	"hash/fnv"
	"strings"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/journaltest"
	"invoicebox-worker/schemas"
)

// chance returns a number below n that depends only on the text.
func chance(text string, n uint32) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text))
	x := h.Sum32()
	x ^= x >> 15
	x *= 0x2c1b3c6d
	x ^= x >> 12
	return x % n
}

// plan is the planner of a side. It records what it saw. A transaction that is run again
// calls it again, so the last view of an event counts.
func (s *side) plan(e journal.Event, v journal.ShopView) journal.Plan {
	if strings.HasPrefix(e.ID, holding) {
		s.held <- struct{}{}
		<-s.release
		return journal.Plan{}
	}
	s.views[e.ID] = v
	return plan(e, v)
}

func newUUID(e journal.Event, generation int) uuid.UUID {
	shop := e.Shop.Shop
	if e.Kind == journal.Activate {
		shop = ""
	}
	return schemas.OperationID(e.Kind.String(), e.Shop.Account, shop, e.SubjectMACs[0], generation)
}

// plan makes every kind of plan, depending on the event's id.
func plan(e journal.Event, v journal.ShopView) journal.Plan {
	made := uuid.NewSHA1(uuid.Nil, []byte("operation "+e.ID))
	draft := func(name, typ string) journal.Draft {
		return journaltest.MakeDraft(uuid.NewSHA1(uuid.Nil, []byte(name+e.Shop.Account+e.Shop.Shop)), typ, e.Shop)
	}
	if strings.HasPrefix(e.ID, "fresh") {
		d := draft(e.ID, schemas.TypeActivationFailed)
		return journal.Plan{New: &journal.NewOperation{UUID: made, Attention: "unsent"}, Publish: []journal.Draft{d, d}}
	}
	if strings.HasPrefix(e.ID, "tour") {
		return journal.Plan{New: &journal.NewOperation{UUID: made}}
	}
	var p journal.Plan
	switch {
	case v.Same == nil:
		p.New = &journal.NewOperation{UUID: newUUID(e, 0)}
	case v.Same.Shop != e.Shop:
		p.New = &journal.NewOperation{UUID: made, Attention: "other_shop"}
	case v.Same.State.Open():
		p.Join = v.Same.ID
	case e.Kind == journal.Invite && chance(e.ID+"generation", 3) == 0:
		p.New = &journal.NewOperation{UUID: newUUID(e, v.Same.Generation+1), Generation: v.Same.Generation + 1}
	default:
		p.Rerun = v.Same.ID
	}
	switch chance(e.ID, 14) {
	case 0:
		return journal.Plan{}
	case 1:
		return journal.Plan{Publish: []journal.Draft{draft("answer "+e.ID, schemas.TypeInvitationFailed), draft("answer", schemas.TypeActivationFailed)}}
	case 2:
		if v.Active != nil && v.Active.Event != uuid.Nil {
			return journal.Plan{Republish: v.Active.Event}
		}
	case 3:
		p.New, p.Join, p.Rerun = &journal.NewOperation{UUID: made, Attention: "unsent"}, 0, 0
	case 4, 5:
		for _, o := range v.Open {
			if o.State == journal.Queued || o.State == journal.Planned || o.State == journal.Waiting {
				if o.ID != p.Join {
					p.Cancel = append(p.Cancel, o.ID)
				}
			}
		}
		p.CancelReason = "newer"
	case 6, 7:
		for _, o := range v.Open {
			// Whatever comes has to take the lane.
			if o.State == journal.Planned && p.Join == 0 && (p.New == nil || p.New.Attention == "") {
				p.Behind = o.ID
			}
		}
	case 8:
		p.Publish = []journal.Draft{draft("with "+e.ID, schemas.TypeInvitationFailed)}
	}
	return p
}

// restorer is the restorer of a side.
func (s *side) restorer(o journal.RestoredOperation) journal.Restoration {
	s.looks[o.UUID.String()] = o
	name := o.Shop.Account + o.Shop.Shop + o.EventID + o.State.String()
	word := []string{"one", "two"}[chance(name+"word", 2)]
	if o.Conflict {
		return journal.Restoration{To: journal.Attention, Reason: "conflict", MerchantID: merchants[chance(name, 3)], Word: "conflict"}
	}
	switch {
	case len(o.Results) > 0:
		r := journal.Restoration{To: journal.Done, Reason: "published", Run: o.Run + int(chance(name, 2)), Word: word}
		last := o.Results[len(o.Results)-1]
		switch {
		case o.Kind == journal.Invite:
			r.Invited = &journal.InvitedUpdate{At: last.At, InvitationID: "restored"}
		case last.Version > 0 && chance(name, 3) > 0:
			ref := schemas.Reference{Store: schemas.StoreVault, Mount: "secret", Account: o.Shop.Account, Shop: o.Shop.Shop, Version: last.Version}
			r.Credential = &journal.Credential{Shop: o.Shop, Version: last.Version, Reference: ref.String(), MerchantID: merchants[chance(name+"m", 3)]}
			r.Active = &journal.ActiveUpdate{At: last.At, Event: last.Event}
		case o.Receipt != nil && o.State == journal.Received:
			return journal.Restoration{Version: last.Version, Doubt: true, Word: word}
		}
		if chance(name+"publish", 3) == 0 {
			r.Publish = []journal.Draft{journaltest.MakeDraft(uuid.NewSHA1(o.UUID, []byte("restored")), schemas.TypeActivationFailed, o.Shop)}
		}
		return r
	case !o.Last || !o.State.Open():
		return journal.Restoration{}
	case o.State == journal.Queued:
		return journal.Restoration{Doubt: true, Unknown: true, Word: word}
	case o.State == journal.Received || o.State == journal.Stored:
		return journal.Restoration{}
	}
	return journal.Restoration{To: journal.Unknown, Reason: "restored", Doubt: true, Unknown: true, Word: word}
}

// merchants are few, so that they conflict.
var merchants = []string{"m-1", "m-2", "m-3"}
