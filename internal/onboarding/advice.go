package onboarding

import "invoicebox-worker/invoicebox"

// An AdviceRow says what the end of a request means to an operator.
type AdviceRow struct {
	Reason invoicebox.Reason
	Means  string
	Do     string // what to set or to do; empty: nothing
}

var advice = []AdviceRow{
	{invoicebox.ReasonDNS, "The name of the API, or of the proxy, cannot be resolved.", "Check --invoicebox-url and the resolver of this machine."},
	{invoicebox.ReasonConnect, "No connection to the API could be made.", "Check --invoicebox-url, the network and the firewall."},
	{invoicebox.ReasonTLS, "TLS with the API failed.", "Run `check`: it names the cause. A private authority is set with --invoicebox-ca-file."},
	{invoicebox.ReasonProxy, "The proxy made no connection to the API.", "Check HTTPS_PROXY and NO_PROXY."},
	{invoicebox.ReasonSetting, "The account's token or signing key cannot be used; nothing was sent.", "Check --token-file and --signing-key-file."},
	{invoicebox.ReasonValue, "The address or code cannot be sent.", ""},
	{invoicebox.ReasonUnauthorized, "Invoicebox refuses the account's token.", "Put a valid token into --token-file."},
	{invoicebox.ReasonForbidden, "The account has no right to do this.", "Ask Invoicebox for the right, then use `accounts resume`."},
	{invoicebox.ReasonAddress, "The address does not lead to the Invoicebox API.", "Correct --invoicebox-url."},
	{invoicebox.ReasonPartnerID, "Invoicebox does not accept the partner id.", "Correct --partner-id; the token must belong to the same partner."},
	{invoicebox.ReasonRequest, "Invoicebox refuses the form of the request.", "Check --signing-key-file, --signing-algorithm and --signing-encoding; if they are right, send the request id to Invoicebox's support."},
	{invoicebox.ReasonBodyUnusable, "The response has no merchant id and token that this version can read.", "`operations response` shows it; after an upgrade use `operations reread`."},
	{invoicebox.ReasonBodyCut, "The connection ended before the response was complete.", "`operations response` shows the part that was received."},
	{invoicebox.ReasonBodyLarge, "The response is larger than the limit.", "`operations response` shows its beginning."},
}

// AdviceOf finds what the end of a request means; false where there is nothing
// to say.
func AdviceOf(reason invoicebox.Reason) (AdviceRow, bool) {
	for _, row := range advice {
		if row.Reason == reason {
			return row, true
		}
	}
	return AdviceRow{}, false
}
