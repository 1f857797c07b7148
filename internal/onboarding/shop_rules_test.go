package onboarding

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// Every state of an operation × reason, against what is written here by hand.
func TestPlanDisconnect_EveryState(t *testing.T) {
	want := map[journal.State]ShopEffect{
		journal.Queued: EffectCancel, journal.Planned: EffectCancel, journal.Waiting: EffectCancel,
		journal.Claimed: EffectRefuse, journal.Sending: EffectRefuse, journal.Unknown: EffectRefuse, journal.Received: EffectRefuse, journal.Stored: EffectRefuse,
		journal.Attention: EffectLeave,
	}
	active := &journal.ActiveView{Version: 1, Operation: uuid.New()}
	reached := map[DisconnectRule]bool{}
	for _, state := range allStates {
		if state == journal.Done || state == journal.Superseded {
			continue // they have ended
		}
		for _, reason := range []Reason{"", ReasonNotExecuted, ReasonOutcomeLost, ReasonCredentialsInvalid} {
			effect := want[state]
			if state == journal.Attention && reason == ReasonCredentialsInvalid {
				effect = EffectEnd
			}
			o := journal.ShopOperation{ID: 7, UUID: uuid.New(), Kind: journal.Activate, State: state, Reason: string(reason)}
			d, why := PlanDisconnect(journal.ShopSituation{Active: active, Operations: []journal.ShopOperation{o}}, planNow)
			if effect == EffectRefuse {
				if d != nil || why == nil || why.Result != ResultInFlight || !strings.Contains(why.Message, o.UUID.String()+" is "+state.String()) {
					t.Errorf("%v (%s): %+v, %+v", state, reason, d, why)
				}
			} else if why != nil || slices.Contains(d.Cancel, 7) != (effect == EffectCancel) || slices.Contains(d.End, 7) != (effect == EffectEnd) || d.Reason != string(ReasonDisconnected) || !d.At.Equal(planNow) {
				t.Errorf("%v (%s): %+v, %+v", state, reason, d, why)
			}
			if effect == EffectCancel && !Permitted(state, journal.Superseded) || effect == EffectEnd && !Permitted(state, journal.Done) {
				t.Errorf("%v (%s): %s is no transition", state, reason, effect)
			}
			// Erasing the shop does the same, and an operator decides first.
			erase, refused := PlanErase(journal.ShopSituation{Active: active, Operations: []journal.ShopOperation{o}}, planNow)
			if effect == EffectLeave {
				if erase != nil || refused == nil || refused.Result != ResultAttention || !strings.Contains(refused.Message, o.UUID.String()) {
					t.Errorf("%v (%s), erased: %+v, %+v", state, reason, erase, refused)
				}
			} else if (erase == nil) != (d == nil) || d != nil && (!slices.Equal(erase.Cancel, d.Cancel) || !slices.Equal(erase.End, d.End)) {
				t.Errorf("%v (%s), erased: %+v, %+v", state, reason, erase, refused)
			}
			row := disconnectRuleOf(state, reason)
			reached[row] = true
			if row.Effect != effect || !strings.HasSuffix(row.Why, ".") {
				t.Errorf("%v (%s): %+v", state, reason, row)
			}
		}
	}
	for _, row := range DisconnectRules() {
		if !reached[row] {
			t.Errorf("no operation comes to %+v", row)
		}
	}
}

func TestPlanDisconnect_NotActive(t *testing.T) {
	o := journal.ShopOperation{ID: 7, State: journal.Planned}
	if d, why := PlanDisconnect(journal.ShopSituation{Disconnected: planNow, Operations: []journal.ShopOperation{o}}, planNow); d != nil || why == nil || why.Result != ResultNotActive {
		t.Errorf("%+v, %+v", d, why)
	}
}

func TestPlanErase_NotActive(t *testing.T) {
	if d, why := PlanErase(journal.ShopSituation{}, planNow); d == nil || why != nil {
		t.Errorf("%+v, %+v", d, why)
	}
	o := journal.ShopOperation{ID: 7, State: journal.Attention, Reason: string(ReasonCredentialsInvalid)}
	if d, why := PlanErase(journal.ShopSituation{Operations: []journal.ShopOperation{o}}, planNow); d != nil || why == nil || why.Result != ResultAttention {
		t.Errorf("%+v, %+v", d, why)
	}
}

func TestDestroyAt(t *testing.T) {
	if got := DestroyAt(planNow, time.Hour); !got.Equal(planNow.Add(time.Hour)) {
		t.Error(got)
	}
	if got := DestroyAt(planNow, NeverDestroy); !got.IsZero() {
		t.Error(got)
	}
}

// There is one event for each activation, and it has no secret and no reference.
func TestPublisher_Disconnected(t *testing.T) {
	x := journal.ShopSituation{Shop: planShop, Active: &journal.ActiveView{Version: 3, Operation: sameUUID, MerchantID: "merchant"}, Run: 2, EventID: "event-1"}
	out := NewPublisher("", "")
	first := out.Disconnected(x, journal.Disconnect{At: planNow, DestroyAt: planNow.Add(time.Hour)})
	if first.ID != schemas.EventID(sameUUID, 2, schemas.TypeDisconnected) {
		t.Errorf("the id is %v", first.ID)
	}
	m, err := first.Freeze(5)
	if err != nil {
		t.Fatal(err)
	}
	e, err := schemas.DecodeOutput(m, schemas.Strict)
	if err != nil {
		t.Fatal(err)
	}
	want := schemas.Disconnected{ShopID: planShop.Shop, PartnerAccount: planShop.Account, DisconnectedAt: planNow, DestroyAfter: planNow.Add(time.Hour)}
	if e.Data != want || e.OperationID != sameUUID.String() || e.CausationID != "event-1" || e.Sequence != 5 {
		t.Errorf("%+v", e)
	}
	x.Run = 3
	if out.Disconnected(x, journal.Disconnect{At: planNow}).ID == first.ID {
		t.Error("two activations have one event")
	}
}
