package schemas_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"invoicebox-worker/schemas"
)

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
