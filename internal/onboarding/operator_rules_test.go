package onboarding

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var operationCommands = []Action{ActionProbe, ActionRetry, ActionSetCredentials, ActionClose}

// Every reason of attention × kind × doubt × command, against what is written
// here by hand: a p(robe), r(etry), s(et-credentials) or c(lose) stands for what is safe.
func TestCheckAction_EveryAttention(t *testing.T) {
	want := map[string]string{
		"outcome_unknown invite sure": "pc", "outcome_unknown invite doubt": "pc", "outcome_unknown activate sure": "psc", "outcome_unknown activate doubt": "psc",
		"outcome_lost activate sure": "sc", "outcome_lost activate doubt": "sc",
		"request_rejected invite sure": "rc", "request_rejected invite doubt": "pc", "request_rejected activate sure": "rc", "request_rejected activate doubt": "psc",
		"answer_unreadable activate sure": "sc", "answer_unreadable activate doubt": "sc",
		"answer_not_authentic activate sure": "sc", "answer_not_authentic activate doubt": "sc",
		"merchant_conflict activate sure": "sc", "merchant_conflict activate doubt": "sc",
		"store_conflict activate sure": "sc", "store_conflict activate doubt": "sc",
		"credentials_invalid activate sure": "rsc", "credentials_invalid activate doubt": "rsc",
		"second_token activate sure": "sc", "second_token activate doubt": "sc",
		"credentials_lost activate sure": "sc", "credentials_lost activate doubt": "sc",
		"code_of_other_shop activate sure": "c", "code_of_other_shop activate doubt": "c",
		"subject_unreadable invite sure": "rc", "subject_unreadable invite doubt": "pc", "subject_unreadable activate sure": "rc", "subject_unreadable activate doubt": "psc",
	}
	walked := 0
	for _, row := range attention {
		for _, kind := range row.Kinds {
			for _, doubt := range []bool{false, true} {
				name := fmt.Sprintf("%s %v %s", row.Reason, kind, map[bool]string{false: "sure", true: "doubt"}[doubt])
				got := ""
				for _, c := range operationCommands {
					why := CheckAction(c, kind, journal.Attention, row.Reason, doubt)
					if why == nil {
						got += string(c[0])
						checkAct(t, name, c, row, kind, doubt)
					} else if why.Result != ResultNotSafe || !strings.Contains(why.Message, string(row.Reason)) {
						t.Errorf("%s %s: %+v", name, c, why)
					}
				}
				expected, ok := want[name]
				if got != expected || !ok {
					t.Errorf("%s: safe are %q, want %q", name, got, expected)
				}
				walked++
			}
		}
	}
	if walked != len(want) {
		t.Errorf("%d walked, %d written", walked, len(want))
	}
}

func checkAct(t *testing.T, name string, c Action, row AttentionRow, kind journal.Kind, doubt bool) {
	t.Helper()
	act, ok := ActionRuleOf(c, row.Reason, kind)
	if !ok || !Permitted(journal.Attention, act.To) || ResultOf(act.Result).State != journal.IntentPerformed {
		t.Errorf("%s %s: %+v", name, c, act)
	}
	again := act.To == journal.Planned
	if again && row.Executed {
		t.Errorf("%s %s: the code is spent and would be sent again", name, c)
	}
	if again && doubt != act.Probe && row.Reason != ReasonOutcomeUnknown {
		t.Errorf("%s %s: what is in doubt is asked by a flagged probe, what is not is not", name, c)
	}
	if act.Run != (c != ActionClose) {
		t.Errorf("%s %s: the run rises where calls start again", name, c)
	}
	if c == ActionClose && !slices.Contains([]journal.State{journal.Done}, act.To) {
		t.Errorf("%s: closed is %v", name, act.To)
	}
}

// Whatever is not in attention is nobody's to act on, and says where it is.
func TestCheckAction_OtherStates(t *testing.T) {
	for _, s := range allStates {
		for _, c := range append(slices.Clone(operationCommands), "burn", "", ActionPause) {
			why := CheckAction(c, journal.Activate, s, ReasonOutcomeUnknown, true)
			switch {
			case s != journal.Attention:
				if why == nil || why.Result != ResultMovedOn || !strings.Contains(why.Message, s.String()) {
					t.Errorf("%s in %v: %+v", c, s, why)
				}
			case !slices.Contains(operationCommands, c):
				if why == nil || why.Result != ResultUnknownAct {
					t.Errorf("%q: %+v", c, why)
				}
			}
		}
	}
	if why := CheckAction(ActionClose, journal.Activate, journal.Attention, "of_tomorrow", false); why == nil || why.Result != ResultNotSafe {
		t.Errorf("a reason without a row: %+v", why)
	}
}

func TestResultRows(t *testing.T) {
	declared := declaredConstants(t, "operator_rules.go", "Result")
	if len(declared) != len(resultRows) {
		t.Errorf("%d results, %d rows", len(declared), len(resultRows))
	}
	for name, r := range declared {
		row := ResultOf(Result(r))
		if row.Text == "" || row.State != journal.IntentPerformed && row.State != journal.IntentRefused || strings.Trim(r, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%s: %+v", name, row)
		}
	}
}

func TestCloseEventOf(t *testing.T) {
	for _, row := range attention {
		for _, active := range []bool{false, true} {
			final := false
			for _, kind := range row.Kinds {
				end := CloseEventOf(row.Reason, kind, active)
				if end == PublishCurrent && (!active || kind != journal.Activate) {
					t.Errorf("%s of %v: there is no current activation", row.Reason, kind)
				}
				if lost := row.Reason == ReasonCredentialsLost; active && kind == journal.Activate && end == PublishClosed && !lost {
					t.Errorf("%s: an active shop would be taken back", row.Reason)
				}
				advice, ok := schemas.LookupFailure(failureType(kind), row.Failure)
				final = final || ok && advice.Final
				closed, ok := schemas.LookupFailure(failureType(kind), schemas.FailureClosed)
				if !ok || !closed.Final {
					t.Errorf("%v: closing is not an end", kind)
				}
			}
			if nothing := CloseEventOf(row.Reason, journal.Activate, active) == PublishNothing; final != nothing {
				t.Errorf("%s: its event is final %v, and closing owes nothing: %v", row.Reason, final, nothing)
			}
		}
	}
	if CloseEventOf(ReasonSecondToken, journal.Activate, true) != PublishCurrent || CloseEventOf(ReasonSecondToken, journal.Activate, false) != PublishClosed {
		t.Error("a second token: the current activation stands, if there is one")
	}
}

// What a person closed although its code was executed is not sent again.
func TestClose_CodeIsNotSentAgain(t *testing.T) {
	for _, row := range attention {
		act, _ := ActionRuleOf(ActionClose, row.Reason, journal.Activate)
		for _, doubt := range []bool{false, true} {
			o := journal.OperationView{Kind: journal.Activate, State: act.To, Reason: string(act.Why), Doubt: doubt || row.Executed}
			if again := neverSent(o); again && (row.Executed || doubt) {
				t.Errorf("%s, doubt %v: its code would be sent again", row.Reason, doubt)
			}
		}
	}
}

// What waits in a restored journal may have been done before; only a token that
// came with it is kept for the worker.
func TestEndRestored(t *testing.T) {
	asked := journal.Intent{ID: 7, Act: string(ActionProbe), Actor: "anna", Account: "default"}
	end, ends := EndRestored(time.Now())(asked)
	if !ends || end.ID != 7 || end.State != journal.IntentRefused || end.Result != string(ResultRestored) || end.Audit.Act != "probe.refused" {
		t.Errorf("%+v", end)
	}
	asked.Sealed = []byte("sealed")
	if _, ends := EndRestored(time.Now())(asked); ends {
		t.Error("a token that was entered is dropped")
	}
}
