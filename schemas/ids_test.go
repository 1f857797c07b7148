package schemas_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/schemas"
)

// Ids are a promise: an event that is published again, by any later version,
// has to carry the same one.
func TestIDsNeverChange(t *testing.T) {
	at := time.UnixMilli(1_790_000_000_123)
	op := schemas.OperationID("activate", "default", "", []byte{1, 2, 3}, 0)
	for name, c := range map[string]struct{ got, want string }{
		"operation":   {op.String(), "5366bda4-d33b-5114-a2b2-16bbed26f709"},
		"event":       {schemas.EventID(op, 1, schemas.TypeActivated).String(), "edabe463-5191-5915-9050-d858d2964a80"},
		"record":      {schemas.RecordID("t", 3, 42, at, []byte{9}), "e74ad3b9-0631-5f4d-8616-365d32d7a79f"},
		"dead letter": {schemas.DeadLetterID("t", 3, 42, at, nil).String(), "dd4ce5bd-ae09-5b0e-a460-e5888ae80ef9"},
		"identity":    {fmt.Sprintf("%x", schemas.Identity("t", "s", "i")), "d2dea66a55ae0c8fc3482f155eb22d1aa09a56af2a4f2351ade94e91941369f6"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, not %s", name, c.got, c.want)
		}
	}
	if op.Version() != 5 {
		t.Errorf("version %d", op.Version())
	}
}

func TestIDsDifferWithEachPart(t *testing.T) {
	at := time.UnixMilli(1_790_000_000_123)
	seen := make(map[string]int)
	ids := []string{
		schemas.OperationID("invite", "a", "s", []byte("m"), 1).String(),
		schemas.OperationID("activate", "a", "s", []byte("m"), 1).String(),
		schemas.OperationID("invite", "as", "", []byte("m"), 1).String(),
		schemas.OperationID("invite", "a", "s", []byte("n"), 1).String(),
		schemas.OperationID("invite", "a", "s", []byte("m"), 2).String(),
		schemas.EventID(uuid.UUID{1}, 1, "t").String(),
		schemas.EventID(uuid.UUID{2}, 1, "t").String(),
		schemas.EventID(uuid.UUID{1}, 2, "t").String(),
		schemas.EventID(uuid.UUID{1}, 1, "u").String(),
		schemas.RecordID("t", 1, 2, at, nil),
		schemas.RecordID("u", 1, 2, at, nil),
		schemas.RecordID("t", 2, 2, at, nil),
		schemas.RecordID("t", 1, 3, at, nil),
		schemas.RecordID("t", 1, 2, at.Add(time.Millisecond), nil),
		schemas.RecordID("t", 1, 2, time.Time{}, nil),
		schemas.RecordID("t", 1, 2, at, []byte{0}),
		schemas.DeadLetterID("t", 1, 2, at, nil).String(),
		fmt.Sprintf("%x", schemas.Identity("ab", "c", "d")),
		fmt.Sprintf("%x", schemas.Identity("a", "bc", "d")),
		fmt.Sprintf("%x", schemas.Identity("a", "b", "cd")),
		fmt.Sprintf("%x", schemas.Identity("abcd", "", "")),
	}
	for i, id := range ids {
		if j, ok := seen[id]; ok {
			t.Errorf("ids %d and %d are the same", i, j)
		}
		seen[id] = i
	}
	// A record's time has milliseconds in Kafka, whatever else a client adds.
	if schemas.RecordID("t", 1, 2, at, nil) != schemas.RecordID("t", 1, 2, at.Add(time.Microsecond).UTC(), nil) {
		t.Error("a microsecond makes another record")
	}
}

func TestFailuresHaveAdvice(t *testing.T) {
	for _, typ := range []string{schemas.TypeInvitationFailed, schemas.TypeActivationFailed} {
		for _, reason := range schemas.FailureReasons(typ) {
			f, ok := schemas.LookupFailure(typ, reason)
			if !ok || f.Description == "" {
				t.Errorf("%s %s: no advice", typ, reason)
			}
			if f.Action == schemas.ActionRequestNewCode && typ == schemas.TypeInvitationFailed {
				t.Errorf("%s %s asks for a code", typ, reason)
			}
			var data schemas.Data = schemas.InvitationFailed{ShopID: "s", PartnerAccount: "a", Reason: reason, Action: f.Action, Final: f.Final}
			if typ == schemas.TypeActivationFailed {
				data = schemas.ActivationFailed{ShopID: "s", PartnerAccount: "a", Reason: reason, Action: f.Action, Final: f.Final}
			}
			if _, err := schemas.Encode(event(data), schemas.FormatBinary); err != nil {
				t.Errorf("%s %s: %v", typ, reason, err)
			}
		}
	}
	if _, ok := schemas.LookupFailure(schemas.TypeInvitationFailed, schemas.FailureCodeRejected); ok {
		t.Error("an invitation fails for a code")
	}
	if schemas.FailureReasons(schemas.TypeInvited) != nil {
		t.Error("a success has reasons to fail")
	}
}
