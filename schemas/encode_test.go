package schemas_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"invoicebox-worker/schemas"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 123_000_000, time.UTC)

func credentials(shop string) schemas.Credentials {
	ref := schemas.Reference{Store: schemas.StoreVault, Mount: "secret/shops", Account: "default", Shop: shop, Version: 3}
	return schemas.Credentials{
		Ref: ref.String(), Store: ref.Store, Key: ref.Key(), Version: ref.Version,
		Fields: []string{schemas.FieldMerchantID, schemas.FieldToken},
	}
}

func event(data schemas.Data) schemas.Event {
	e := schemas.Event{
		ID: "7f1d9f0e-54b5-5d39-a5c3-3ad4dcd2a1f0", Source: "urn:invoicebox-worker:main", Time: noon, Sequence: 7,
		CausationID: "e-1", OperationID: "1d7a0c4e-0a5b-5e0e-9a44-2f9b6c1d0b7e", Data: data,
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceState: "vendor=abc",
	}
	e.Type = data.Type()
	if e.Type == schemas.TypeDeadLetter {
		e.Sequence, e.OperationID = 0, ""
	}
	return e
}

func activatedEvent() schemas.Event { return event(eachData("shop-1")[2]) }

// eachData has one value of every kind of data, in the order of OutputTypes.
func eachData(shop string) []schemas.Data {
	const account = "default"
	return []schemas.Data{
		schemas.Invited{ShopID: shop, PartnerAccount: account, InvitationID: "123", InvitedAt: noon, Outcome: schemas.OutcomeSent},
		schemas.InvitationFailed{ShopID: shop, PartnerAccount: account, Reason: schemas.FailureAddressRejected, Action: schemas.ActionContactSupport, Final: true},
		schemas.Activated{
			ShopID: shop, PartnerAccount: account, MerchantID: "ffffffff-ffff-ffff-ffff-ffffffffffff", ActivatedAt: noon,
			Verification: schemas.VerificationPending, Credentials: credentials(shop),
		},
		schemas.ActivationFailed{ShopID: shop, PartnerAccount: account, Reason: schemas.FailureOutcomeLost, Action: schemas.ActionRequestNewCode},
		schemas.CredentialsVerified{ShopID: shop, PartnerAccount: account, Credentials: credentials(shop), CheckedAt: noon},
		schemas.CredentialsInvalid{ShopID: shop, PartnerAccount: account, Credentials: credentials(shop), CheckedAt: noon},
		schemas.Disconnected{ShopID: shop, PartnerAccount: account, DisconnectedAt: noon, DestroyAfter: noon.Add(24 * time.Hour)},
		schemas.Unanswered{ShopID: shop, PartnerAccount: account, InvitationID: "123", InvitedAt: noon, Reminder: 1},
		schemas.DeadLetter{Topic: "in.codes", Partition: 4, Offset: 99, EventID: "e-9", Reason: schemas.ReasonMissing, Where: "/shopId", Time: noon},
	}
}

func TestEveryEventComesBackAsItWent(t *testing.T) {
	for _, shop := range []string{"shop-1", "a/b", "..", "лавка 🛒", "b32-x"} {
		for i, data := range eachData(shop) {
			for _, format := range []schemas.Format{schemas.FormatBinary, schemas.FormatStructured} {
				e := event(data)
				if e.Type != schemas.OutputTypes()[i] {
					t.Fatalf("data %d is %s", i, e.Type)
				}
				m, err := schemas.Encode(e, format)
				if err != nil {
					t.Fatalf("%s %s: %v", e.Type, format, err)
				}
				wantKey := shop
				if e.Subject = shop; e.Type == schemas.TypeDeadLetter {
					wantKey, e.Subject = "in.codes/4", "in.codes/4/99"
				}
				if string(m.Key) != wantKey || m.Topic != e.Type {
					t.Errorf("%s: key %q on topic %q", e.Type, m.Key, m.Topic)
				}
				for _, options := range [][]schemas.OutputOption{nil, {schemas.Strict}} {
					back, err := schemas.DecodeOutput(m, options...)
					if err != nil {
						t.Fatalf("%s %s: %v\n%s", e.Type, format, err, m.Value)
					}
					if diff := cmp.Diff(e, back); diff != "" {
						t.Errorf("%s %s: %s", e.Type, format, diff)
					}
				}
				if format == schemas.FormatStructured {
					if err := schemas.Validate(schemas.EnvelopeOutput, m.Value); err != nil {
						t.Errorf("%s: %v", e.Type, err)
					}
				} else if err := schemas.Validate(e.Type, m.Value); err != nil {
					t.Errorf("%s: %v", e.Type, err)
				}
			}
		}
	}
}
