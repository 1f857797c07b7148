package schemas_test

import (
	"fmt"

	"invoicebox-worker/schemas"
)

// A subscriber reads results, whichever format the service writes, and asks
// its store for what the reference names.
func ExampleDecodeOutput() {
	record := schemas.Message{
		Topic: "shop.invoicebox_activated",
		Key:   []byte("shop-1042"),
		Headers: []schemas.Header{
			{Key: "content-type", Value: []byte("application/json")},
			{Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_id", Value: []byte("7f1d9f0e-54b5-5d39-a5c3-3ad4dcd2a1f0")},
			{Key: "ce_source", Value: []byte("urn:invoicebox-worker:main")},
			{Key: "ce_type", Value: []byte("shop.invoicebox_activated")},
			{Key: "ce_subject", Value: []byte("shop-1042")},
			{Key: "ce_time", Value: []byte("2026-11-20T12:00:00Z")},
			{Key: "ce_sequence", Value: []byte("0000000000000000007")},
		},
		Value: []byte(`{
			"shopId": "shop-1042", "partnerAccount": "default",
			"merchantId": "ffffffff-ffff-ffff-ffff-ffffffffffff",
			"activatedAt": "2026-11-20T12:00:00Z", "verification": "verified",
			"credentials": {
				"ref": "ref+vault://secret/invoicebox/default/shop-1042?version=3",
				"store": "vault", "key": "secret/invoicebox/default/shop-1042", "version": 3,
				"fields": ["merchantId", "token"]
			}
		}`),
	}
	event, err := schemas.DecodeOutput(record)
	if err != nil {
		fmt.Println(err)
		return
	}
	switch data := event.Data.(type) {
	case schemas.Activated:
		fmt.Printf("%s is active as %s (event %d)\n", data.ShopID, data.MerchantID, event.Sequence)
		fmt.Println("its token:", data.Credentials.Ref+"#/token")
	case schemas.ActivationFailed:
		fmt.Println(data.ShopID, data.Reason, data.Action)
	}
	// Output:
	// shop-1042 is active as ffffffff-ffff-ffff-ffff-ffffffffffff (event 7)
	// its token: ref+vault://secret/invoicebox/default/shop-1042?version=3#/token
}

// A reference names store, path, version and field; the shop id comes back as
// the platform wrote it, however odd.
func ExampleParseReference() {
	ref, err := schemas.ParseReference("ref+openbao://kv/team-7/invoicebox/default/b32-mexs4lrpnm?version=3#/token")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q in %s\n", ref.Shop, ref.Store)
	fmt.Println(ref.Key(), ref.Version, ref.Field)

	_, err = schemas.ParseReference("ref+openbao://kv/invoicebox/default/../other?address=https://evil.example")
	fmt.Println(err)
	// Output:
	// "a/../k" in openbao
	// kv/team-7/invoicebox/default/b32-mexs4lrpnm 3 token
	// schemas: not a credentials reference
}

// A reason says what to do about a failure.
func ExampleLookupFailure() {
	failure, _ := schemas.LookupFailure(schemas.TypeActivationFailed, schemas.FailureOutcomeLost)
	fmt.Println(failure.Action, failure.Final)
	// Output: request_new_code false
}
