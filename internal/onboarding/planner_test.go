package onboarding

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var (
	planNow   = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	planShop  = journal.ShopKey{Account: "default", Shop: "shop-1"}
	otherShop = journal.ShopKey{Account: "default", Shop: "shop-2"}
	sameUUID  = uuid.MustParse("11111111-1111-1111-1111-111111111111")
)

func planEvent(kind journal.Kind) journal.Event {
	return journal.Event{
		Identity: schemas.Identity("topic", "source", "event-1"), ID: "event-1", Time: planNow.Add(-time.Minute), Shop: planShop,
		Kind: kind, SubjectMACs: [][]byte{[]byte("mac-1"), []byte("mac-2")}, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

// planned is a plan in a form that a table can hold.
type planned struct {
	New        bool
	Generation int
	Attention  Reason
	Join       int64
	Rerun      int64
	Cancel     []int64
	Behind     int64
	Reason     Reason
	Publish    string
	Republish  uuid.UUID
}

func summary(t *testing.T, p journal.Plan) planned {
	t.Helper()
	out := planned{Join: p.Join, Rerun: p.Rerun, Cancel: p.Cancel, Behind: p.Behind, Reason: Reason(p.CancelReason), Republish: p.Republish}
	if p.New != nil {
		out.New, out.Generation, out.Attention = true, p.New.Generation, Reason(p.New.Attention)
	}
	for _, d := range p.Publish {
		m, err := d.Freeze(7)
		if err != nil {
			t.Fatalf("the event cannot be published: %v", err)
		}
		e, err := schemas.DecodeOutput(m)
		if err != nil {
			t.Fatal(err)
		}
		if e.Sequence != 7 || e.CausationID != "event-1" || e.TraceParent == "" || e.ID != d.ID.String() {
			t.Errorf("event %+v does not say where it comes from", e)
		}
		switch data := e.Data.(type) {
		case schemas.Invited:
			out.Publish += string(data.Outcome)
		case schemas.ActivationFailed:
			out.Publish += string(data.Reason)
		}
	}
	return out
}

func op(state journal.State, reason Reason, doubt bool) *journal.OperationView {
	return &journal.OperationView{ID: 1, UUID: sameUUID, Kind: journal.Invite, Shop: planShop, State: state, Reason: string(reason), Generation: 4, Doubt: doubt, SameSubject: true}
}

func waiting(state journal.State, reason Reason) journal.OperationView {
	return journal.OperationView{ID: 9, Kind: journal.Invite, Shop: planShop, State: state, Reason: string(reason)}
}

func ofOther(v *journal.OperationView) *journal.OperationView { v.Shop = otherShop; return v }

func invitedView(ago time.Duration, same bool) *journal.InvitedView {
	return &journal.InvitedView{At: planNow.Add(-ago), EventTime: planNow.Add(-ago), SameAddress: same, InvitationID: "inv-1"}
}

func changed(v *journal.OperationView, ago time.Duration) *journal.OperationView {
	v.Changed = planNow.Add(-ago)
	return v
}

func TestPlanner_Invitation(t *testing.T) {
	active := &journal.ActiveView{At: planNow, MerchantID: "m-1", Version: 1, Operation: uuid.New(), Event: uuid.New()}
	other := func(id int64, s journal.State, doubt bool) journal.OperationView {
		return journal.OperationView{ID: id, Kind: journal.Invite, Shop: planShop, State: s, Doubt: doubt}
	}
	for name, c := range map[string]struct {
		view  journal.ShopView
		event time.Duration // before now; 0: a minute
		want  planned
	}{
		"nothing known":  {want: planned{New: true}},
		"active":         {view: journal.ShopView{Active: active}, want: planned{Publish: "already_active"}},
		"active, queued": {view: journal.ShopView{Active: active, Open: []journal.OperationView{*op(journal.Queued, "", false)}}, want: planned{Publish: "already_active", Cancel: []int64{1}, Reason: ReasonAlreadyActive}},
		"open, same address": {view: journal.ShopView{Open: []journal.OperationView{*op(journal.Sending, "", false)}, Same: op(journal.Sending, "", false)},
			want: planned{Join: 1}},
		"open, other addresses": {view: journal.ShopView{Open: []journal.OperationView{
			other(2, journal.Queued, false), other(3, journal.Planned, false), other(4, journal.Waiting, false), other(5, journal.Waiting, true),
			other(6, journal.Claimed, false), other(7, journal.Sending, false), other(8, journal.Unknown, true),
			{ID: 9, Kind: journal.Activate, State: journal.Queued},
		}}, want: planned{New: true, Cancel: []int64{2, 3, 4}, Reason: ReasonNewerAddress}},
		"open, same and another address": {view: journal.ShopView{Open: []journal.OperationView{*op(journal.Queued, "", false), other(2, journal.Planned, false)}, Same: op(journal.Queued, "", false)},
			want: planned{Join: 1, Cancel: []int64{2}, Reason: ReasonNewerAddress}},
		"same address within the cool-down": {view: journal.ShopView{Invited: invitedView(23*time.Hour, true), Same: op(journal.Done, ReasonSent, false)},
			want: planned{Publish: "already_invited"}},
		"same address after the cool-down": {view: journal.ShopView{Invited: invitedView(25*time.Hour, true), Same: op(journal.Done, ReasonSent, false)},
			want: planned{New: true, Generation: 5}},
		"the same address, which waits for another shop's e-mail": {view: journal.ShopView{Same: op(journal.Planned, ReasonAddressCoolDown, false), Open: []journal.OperationView{*op(journal.Planned, ReasonAddressCoolDown, false)}},
			want: planned{Join: 1}},
		"another address, the first waits for another shop's e-mail": {view: journal.ShopView{Open: []journal.OperationView{waiting(journal.Planned, ReasonAddressCoolDown)}},
			want: planned{New: true, Cancel: []int64{9}, Reason: ReasonNewerAddress}},
		"another address within the cool-down": {view: journal.ShopView{Invited: invitedView(time.Hour, false)}, want: planned{New: true}},
		"an older address again, its e-mail young": {view: journal.ShopView{Invited: invitedView(time.Hour, false), Same: changed(op(journal.Done, ReasonSent, false), 2*time.Hour)},
			want: planned{Publish: "already_invited"}},
		"an older address again, its e-mail old": {view: journal.ShopView{Invited: invitedView(time.Hour, false), Same: changed(op(journal.Done, ReasonSent, false), 48*time.Hour)},
			want: planned{New: true, Generation: 5}},
		"older than the last invitation": {view: journal.ShopView{Invited: invitedView(time.Hour, false), Open: []journal.OperationView{other(2, journal.Planned, false)}},
			event: 2 * time.Hour, want: planned{Publish: "already_invited"}},
		"older than an open one": {view: journal.ShopView{Open: []journal.OperationView{{ID: 2, Kind: journal.Invite, State: journal.Waiting, EventTime: planNow.Add(-time.Hour)}}},
			event: 2 * time.Hour, want: planned{Join: 2}},
		"refused":                      {view: journal.ShopView{Same: op(journal.Done, ReasonRefusedAddress, false)}, want: planned{Rerun: 1}},
		"expired":                      {view: journal.ShopView{Same: op(journal.Done, ReasonExpired, false)}, want: planned{Rerun: 1}},
		"cancelled":                    {view: journal.ShopView{Same: op(journal.Superseded, ReasonNewerAddress, false)}, want: planned{Rerun: 1}},
		"closed in doubt":              {view: journal.ShopView{Same: op(journal.Done, ReasonClosed, true)}, want: planned{New: true, Generation: 5}},
		"attention without doubt":      {view: journal.ShopView{Same: op(journal.Attention, ReasonRequestRejected, false)}, want: planned{Join: 1}},
		"unknown within the cool-down": {view: journal.ShopView{Invited: invitedView(time.Hour, true), Same: op(journal.Attention, ReasonOutcomeUnknown, true)}, want: planned{Join: 1}},
		"unknown after the cool-down":  {view: journal.ShopView{Invited: invitedView(25*time.Hour, true), Same: op(journal.Attention, ReasonOutcomeUnknown, true)}, want: planned{New: true, Generation: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			e := planEvent(journal.Invite)
			if c.event > 0 {
				e.Time = planNow.Add(-c.event)
			}
			checkPlan(t, e, c.view, c.want)
		})
	}
}

func TestPlanner_Activation(t *testing.T) {
	active := &journal.ActiveView{At: planNow, MerchantID: "m-1", Version: 2, Operation: uuid.New(), Event: uuid.New()}
	for name, c := range map[string]struct {
		view journal.ShopView
		want planned
	}{
		"a new code":                     {want: planned{New: true}},
		"a new code for an active shop":  {view: journal.ShopView{Active: active}, want: planned{New: true}},
		"open":                           {view: journal.ShopView{Same: op(journal.Unknown, "", true)}, want: planned{Join: 1}},
		"attention":                      {view: journal.ShopView{Same: op(journal.Attention, ReasonOutcomeLost, true), Active: active}, want: planned{Join: 1}},
		"it worked":                      {view: journal.ShopView{Same: op(journal.Done, ReasonActivated, false), Active: active}, want: planned{Republish: active.Event}},
		"overtaken by a newer":           {view: journal.ShopView{Same: op(journal.Superseded, ReasonNewerCode, false), Active: active}, want: planned{Republish: active.Event}},
		"expired, and active since":      {view: journal.ShopView{Same: op(journal.Done, ReasonExpired, false), Active: active}, want: planned{Rerun: 1}},
		"superseded by a newer":          {view: journal.ShopView{Same: op(journal.Superseded, "", true), Active: active}, want: planned{Republish: active.Event}},
		"refused":                        {view: journal.ShopView{Same: op(journal.Done, ReasonRefusedCode, false)}, want: planned{Rerun: 1}},
		"refused, and active since":      {view: journal.ShopView{Same: op(journal.Done, ReasonRefusedCode, false), Active: active}, want: planned{Rerun: 1}},
		"expired":                        {view: journal.ShopView{Same: op(journal.Done, ReasonExpired, false)}, want: planned{Rerun: 1}},
		"closed, never executed":         {view: journal.ShopView{Same: op(journal.Done, ReasonClosed, false)}, want: planned{Rerun: 1}},
		"closed in doubt":                {view: journal.ShopView{Same: op(journal.Done, ReasonClosed, true)}, want: planned{Publish: "closed"}},
		"another shop has it open":       {view: journal.ShopView{Same: ofOther(op(journal.Planned, "", false))}, want: planned{New: true, Attention: ReasonCodeOfOtherShop, Publish: "code_of_other_shop"}},
		"another shop used it":           {view: journal.ShopView{Same: ofOther(op(journal.Done, ReasonActivated, false))}, want: planned{New: true, Attention: ReasonCodeOfOtherShop, Publish: "code_of_other_shop"}},
		"another shop's is in attention": {view: journal.ShopView{Same: ofOther(op(journal.Attention, ReasonOutcomeUnknown, true))}, want: planned{New: true, Attention: ReasonCodeOfOtherShop, Publish: "code_of_other_shop"}},
		"refused for another shop":       {view: journal.ShopView{Same: ofOther(op(journal.Done, ReasonRefusedCode, false))}, want: planned{New: true, Generation: 5}},
		"expired for another shop":       {view: journal.ShopView{Same: ofOther(op(journal.Done, ReasonExpired, false))}, want: planned{New: true, Generation: 5}},
		"expired in doubt for another":   {view: journal.ShopView{Same: ofOther(op(journal.Done, ReasonExpired, true))}, want: planned{New: true, Attention: ReasonCodeOfOtherShop, Publish: "code_of_other_shop"}},
		"disconnected, a new code":       {view: journal.ShopView{Disconnected: planNow}, want: planned{New: true}},
		"disconnected, it worked before": {view: journal.ShopView{Disconnected: planNow, Same: op(journal.Done, ReasonActivated, false)}, want: planned{Publish: "code_rejected"}},
		"disconnected, overtaken before": {view: journal.ShopView{Disconnected: planNow, Same: op(journal.Superseded, ReasonNewerCode, false)}, want: planned{Publish: "code_rejected"}},
		"disconnected, refused before":   {view: journal.ShopView{Disconnected: planNow, Same: op(journal.Done, ReasonRefusedCode, false)}, want: planned{Rerun: 1}},
		"disconnected, in attention":     {view: journal.ShopView{Disconnected: planNow, Same: op(journal.Attention, ReasonOutcomeLost, true)}, want: planned{Join: 1}},
		"canceled by the disconnect":     {view: journal.ShopView{Disconnected: planNow, Same: op(journal.Superseded, ReasonDisconnected, false)}, want: planned{Rerun: 1}},
		"canceled in doubt":              {view: journal.ShopView{Disconnected: planNow, Same: op(journal.Superseded, ReasonDisconnected, true)}, want: planned{Publish: "code_rejected"}},
		"canceled in doubt, active since": {view: journal.ShopView{Active: active, Same: op(journal.Superseded, ReasonDisconnected, true)},
			want: planned{Republish: active.Event}},
		"an invitation waits for its address": {view: journal.ShopView{Open: []journal.OperationView{waiting(journal.Planned, ReasonAddressCoolDown)}},
			want: planned{New: true, Behind: 9}},
		"the same, a code again": {view: journal.ShopView{Same: op(journal.Done, ReasonRefusedCode, false), Open: []journal.OperationView{waiting(journal.Planned, ReasonAddressCoolDown)}},
			want: planned{Rerun: 1, Behind: 9}},
		"the same, the code is open": {view: journal.ShopView{Same: op(journal.Waiting, "", false), Open: []journal.OperationView{waiting(journal.Planned, ReasonAddressCoolDown)}},
			want: planned{Join: 1}},
		"the same, another shop's code": {view: journal.ShopView{Same: ofOther(op(journal.Planned, "", false)), Open: []journal.OperationView{waiting(journal.Planned, ReasonAddressCoolDown)}},
			want: planned{New: true, Attention: ReasonCodeOfOtherShop, Publish: "code_of_other_shop"}},
		"an invitation is being sent":            {view: journal.ShopView{Open: []journal.OperationView{waiting(journal.Sending, ReasonAddressCoolDown)}}, want: planned{New: true}},
		"an invitation waits for something else": {view: journal.ShopView{Open: []journal.OperationView{waiting(journal.Planned, ReasonNoPermit)}}, want: planned{New: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.view.Same != nil {
				c.view.Same.Kind = journal.Activate
			}
			checkPlan(t, planEvent(journal.Activate), c.view, c.want)
		})
	}
}

func checkPlan(t *testing.T, e journal.Event, v journal.ShopView, want planned) {
	t.Helper()
	plan := NewPlanner(PlannerOptions{Now: func() time.Time { return planNow }})
	first := plan(e, v)
	if d := cmp.Diff(want, summary(t, first)); d != "" {
		t.Errorf("another plan (-want +got):\n%s", d)
	}
	// A transaction that is run again gets the same ids.
	second := plan(e, v)
	if d := cmp.Diff(first.New, second.New); d != "" {
		t.Errorf("the second plan differs:\n%s", d)
	}
	for i := range first.Publish {
		if first.Publish[i].ID != second.Publish[i].ID {
			t.Error("the second plan's event has another id")
		}
	}
}

// Whatever the view, a plan keeps the rules that no table row may break.
func TestPlanner_Invariants(t *testing.T) {
	plan := NewPlanner(PlannerOptions{Now: func() time.Time { return planNow }})
	reasons := []Reason{"", ReasonSent, ReasonActivated, ReasonAlreadyInvited, ReasonRefusedAddress, ReasonRefusedCode, ReasonExpired, ReasonClosed, ReasonOutcomeUnknown, ReasonOutcomeLost}
	n := 0
	for _, kind := range bothKinds {
		for _, state := range allStates {
			for _, reason := range reasons {
				for _, doubt := range []bool{false, true} {
					for _, shop := range []journal.ShopKey{planShop, otherShop} {
						for _, ago := range []time.Duration{-1, time.Hour, 48 * time.Hour} {
							for _, isActive := range []bool{false, true} {
								if shop != planShop && kind == journal.Invite {
									continue // an address's operation is the shop's own
								}
								same := op(state, reason, doubt)
								same.Shop, same.Kind = shop, kind
								v := journal.ShopView{Same: same}
								if state.Open() && shop == planShop {
									v.Open = []journal.OperationView{*same}
								}
								if ago > 0 {
									v.Invited = invitedView(ago, true)
								}
								if isActive {
									v.Active = &journal.ActiveView{At: planNow, Operation: uuid.New(), Event: uuid.New()}
								}
								n++
								p := plan(planEvent(kind), v)
								what := kind.String() + " " + state.String() + " " + string(reason)
								exits := 0
								for _, b := range []bool{p.New != nil, p.Join != 0, p.Rerun != 0, len(p.Publish) > 0 && p.New == nil, p.Republish != uuid.Nil} {
									if b {
										exits++
									}
								}
								if exits != 1 {
									t.Fatalf("%s: %d exits: %+v", what, exits, p)
								}
								sends := p.Rerun != 0 || p.New != nil && p.New.Attention == ""
								if sends && kind == journal.Activate && (state.Open() || doubt) {
									t.Fatalf("%s (doubt %v, shop %v): a code that may be spent is sent again: %+v", what, doubt, shop, p)
								}
								if sends && kind == journal.Invite && (isActive || state.Open()) {
									t.Fatalf("%s: a second invitation: %+v", what, p)
								}
								if p.Rerun != 0 && (state.Open() || shop != planShop) {
									t.Fatalf("%s: only the shop's own ended operation runs again: %+v", what, p)
								}
								for _, d := range p.Publish {
									if !Publishable(d) {
										t.Fatalf("%s: the event breaks the contract", what)
									}
								}
							}
						}
					}
				}
			}
		}
	}
	if n < 1000 {
		t.Fatalf("only %d combinations", n)
	}
}

// A code that gave way to a newer one is not sent again, and nothing says that
// it failed: the newer one's activation is the answer.
func TestPlanner_SupersededCode(t *testing.T) {
	plan := NewPlanner(PlannerOptions{Now: func() time.Time { return planNow }})
	same := &journal.OperationView{ID: 7, UUID: uuid.New(), Kind: journal.Activate, Shop: planShop, State: journal.Superseded, Reason: string(ReasonNewerCode), Doubt: true}
	if p := plan(planEvent(journal.Activate), journal.ShopView{Same: same}); p.Join != same.ID || len(p.Publish) > 0 {
		t.Errorf("before the newer one is announced: %+v", p)
	}
	active := &journal.ActiveView{At: planNow, Operation: uuid.New(), Event: uuid.New()}
	if p := plan(planEvent(journal.Activate), journal.ShopView{Same: same, Active: active}); p.Republish != active.Event {
		t.Errorf("afterwards: %+v", p)
	}
}

// An absent time says nothing about the order of two events, and a time that was
// not yet reached when something was done cannot be right.
func TestIsOlder(t *testing.T) {
	var none time.Time
	before, far := planNow.Add(-time.Hour), planNow.AddDate(73, 0, 0)
	for name, row := range map[string]struct {
		event, other, known time.Time
		want                bool
	}{
		"Older":                   {before, planNow, planNow, true},
		"Newer":                   {planNow, before, planNow, false},
		"Same":                    {before, before, planNow, false},
		"EventWithoutTime":        {none, planNow, planNow, false},
		"OtherWithoutTime":        {before, none, planNow, false},
		"BothWithoutTime":         {none, none, planNow, false},
		"OtherFarAhead":           {planNow, far, before, false},
		"OlderThanOneFarAhead":    {before, far, planNow, true},
		"FarAheadItself":          {far, planNow, planNow, false},
		"NotKnownWhenItWasKnown":  {before, planNow, none, true},
		"WholeSecondsOfTheSame":   {planNow, planNow.Add(900 * time.Millisecond), planNow.Add(time.Second), false},
		"ASecondBefore":           {planNow.Add(-time.Millisecond), planNow.Add(900 * time.Millisecond), planNow.Add(time.Second), true},
		"OtherBeforeItWasChanged": {planNow.Add(-2 * time.Hour), before, planNow, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isOlder(row.event, row.other, row.known); got != row.want {
				t.Errorf("%v", got)
			}
		})
	}
}

// One event with a time far ahead, or without a time, mutes no shop: a later
// choice of another address is sent.
func TestPlanner_TimesThatCannotBeRight(t *testing.T) {
	plan := NewPlanner(PlannerOptions{Now: func() time.Time { return planNow }})
	far := planNow.AddDate(73, 0, 0)
	for name, row := range map[string]struct {
		event time.Time
		view  journal.ShopView
	}{
		"InvitedFarAhead": {planNow, journal.ShopView{Invited: &journal.InvitedView{At: planNow.Add(-time.Minute), EventTime: far}}},
		"OpenFarAhead": {planNow, journal.ShopView{Open: []journal.OperationView{
			{ID: 1, Kind: journal.Invite, State: journal.Claimed, EventTime: far, Changed: planNow.Add(-time.Minute)},
		}}},
		"NoTimeAfterInvited": {time.Time{}, journal.ShopView{Invited: invitedView(time.Minute, false)}},
		"NoTimeAfterOpen": {time.Time{}, journal.ShopView{Open: []journal.OperationView{
			{ID: 1, Kind: journal.Invite, State: journal.Claimed, EventTime: planNow},
		}}},
		"AfterOneWithoutTime": {planNow, journal.ShopView{Invited: &journal.InvitedView{At: planNow, EventTime: time.Time{}}}},
	} {
		t.Run(name, func(t *testing.T) {
			e := planEvent(journal.Invite)
			e.Time = row.event
			if got := plan(e, row.view); got.New == nil {
				t.Errorf("no invitation: %+v", got)
			}
		})
	}
}
