package invoicebox_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// An activation: the receipt first, then what it means, then what is in it.
func Example() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "7c1e")
		fmt.Fprint(w, `{"data":{"merchantId":"ffffffff-ffff-ffff-ffff-ffffffffffff","token":"the-shops-token"}}`)
	}))
	defer api.Close()

	client, err := invoicebox.New(invoicebox.Options{
		BaseURL:   api.URL,
		PartnerID: "ffffffff-ffff-ffff-ffff-ffffffffffff",
		Token:     func() secret.String { return secret.New("b37c4c689295904ed21eee5d9a48d42e") },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	x := client.Activate(context.Background(),
		invoicebox.CallOptions{SendBy: time.Now().Add(10 * time.Second)}, secret.New("143232423434"))
	receipt, err := x.MarshalReceipt()
	if err != nil {
		fmt.Println(err)
		return
	}
	// … seal the receipt and make it durable, here …
	x, err = invoicebox.UnmarshalReceipt(receipt)
	if err != nil {
		fmt.Println(err)
		return
	}
	v := invoicebox.Classify(x)
	fmt.Println(v.Outcome, v.Reason, x.RequestID)
	if v.Outcome == invoicebox.Done {
		a, err := invoicebox.ParseActivation(x)
		fmt.Println(a.MerchantID, a.Token, err)
	}
	// Output:
	// done ok 7c1e
	// ffffffff-ffff-ffff-ffff-ffffffffffff [secret] <nil>
}
