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
	{invoicebox.ReasonUnauthorized, "Invoicebox refuses the account's token.", "Put the right token into --token-file."},
	{invoicebox.ReasonForbidden, "The account has no right to do this.", "Ask Invoicebox for the right, then `accounts resume`."},
	{invoicebox.ReasonAddress, "No Invoicebox API answers at this address.", "Correct --invoicebox-url."},
	{invoicebox.ReasonPartnerID, "Invoicebox does not accept the partner id.", "Correct --partner-id, with a new account name, because the journal binds each name to a partner id. The token must belong to the same partner."},
	{invoicebox.ReasonRequest, "Invoicebox refuses the form of the request.", "Check --signing-key-file, --signing-algorithm and --signing-encoding; else give Invoicebox's support the request id."},
	{invoicebox.ReasonServerError, "Invoicebox answers with a server error.", "Nothing: the worker tries the account again."},
	{invoicebox.ReasonUnavailable, "Invoicebox answers that it is unavailable.", "Nothing: the worker tries the account again."},
	{invoicebox.ReasonDeadline, "Invoicebox does not answer within --request-deadline.", "Check the network; the worker tries the account again."},
	{invoicebox.ReasonBodyUnusable, "The response has no merchant id and token in a form that this version reads.", "Read it with `operations response`; after an upgrade parse it again with `operations reread`."},
	{invoicebox.ReasonBodyCut, "The connection ended before the response was complete.", "Read the received part with `operations response`."},
	{invoicebox.ReasonBodyLarge, "The response is larger than is allowed.", "Read its beginning with `operations response`."},
}

// AdviceFor returns the meaning of a reason and what to do; false if there is none.
func AdviceFor(reason invoicebox.Reason) (AdviceRow, bool) {
	for _, row := range advice {
		if row.Reason == reason {
			return row, true
		}
	}
	return AdviceRow{}, false
}
