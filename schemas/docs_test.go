package schemas_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/doctable"
	"invoicebox-worker/schemas"
)

const eventsPage = "../docs/events.md"

// The tables of the page for platforms are those of the code.
func TestEventsPage(t *testing.T) {
	for heading, typ := range map[string]string{
		"## When an invitation fails": schemas.TypeInvitationFailed, "## When an activation fails": schemas.TypeActivationFailed,
	} {
		rows := [][]string{{"reason", "action", "final", "what it means", "what the shop should see", "what comes next"}}
		for _, reason := range schemas.FailureReasons(typ) {
			f, _ := schemas.FailureOf(typ, reason)
			rows = append(rows, []string{"`" + string(reason) + "`", "`" + string(f.Action) + "`", fmt.Sprint(f.Final), f.Meaning, f.Shop, f.Next})
			if slices.Contains([]string{f.Meaning, f.Shop, f.Next}, "") {
				t.Errorf("%s: a text is missing", reason)
			}
			if f.Final && strings.Contains(f.Next, "A success can follow") || !f.Final && f.Next == "Nothing follows." {
				t.Errorf("%s: final is %v and %q", reason, f.Final, f.Next)
			}
		}
		doctable.CompareMarkdown(t, eventsPage, heading, rows)
	}
	rows := [][]string{{"reason", "what is wrong", "what to change"}}
	for _, reason := range schemas.Reasons() {
		meaning, remedy := schemas.ReasonMeaning(reason)
		rows = append(rows, []string{"`" + string(reason) + "`", meaning, remedy})
	}
	doctable.CompareMarkdown(t, eventsPage, "## Dead letters", rows)
}

// README shows one whole record, as it is written.
func TestReadmeShowsARecord(t *testing.T) {
	ref := schemas.Reference{Store: "sealed", Mount: "journal", Account: "default", Shop: "shop-1", Version: 1}
	e := schemas.Event{
		ID: "7f1d9f0e-54b5-5d39-a5c3-3ad4dcd2a1f0", Source: "/invoicebox-worker", Type: schemas.TypeActivated, Subject: "shop-1", Time: noon,
		Sequence: 2, CausationID: "0192e1d0-7d4c-7b52-9b1f-6a0d2b4c8e11", OperationID: "1d7a0c4e-0a5b-5e0e-9a44-2f9b6c1d0b7e",
		Data: schemas.Activated{
			ShopID: "shop-1", PartnerAccount: "default", MerchantID: "9c19216b-0f5b-4b0e-8d0c-1f6a3c1e7a42", ActivatedAt: noon, Verification: schemas.VerificationVerified,
			Credentials: schemas.Credentials{Ref: ref.String(), Store: ref.Store, Key: ref.Key(), Version: 1, Fields: []string{schemas.FieldMerchantID, schemas.FieldToken}},
		},
	}
	m, err := schemas.Encode(e, schemas.FormatBinary)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	fmt.Fprintf(&want, "topic    %s\nkey      %s\n", e.Type, m.Key)
	for _, h := range m.Headers {
		fmt.Fprintf(&want, "header   %s: %s\n", h.Key, h.Value)
	}
	fmt.Fprintf(&want, "value    %s\n", m.Value)
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "```text\n"+want.String()+"```\n") {
		t.Errorf("README has no such record:\n%s", want.String())
	}
}
