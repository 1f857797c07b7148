package app

import (
	"fmt"

	"invoicebox-worker/invoicebox"
)

// A connectFailureText describes why there is no connection and what the operator can do.
// The text follows the name of the server or proxy.
type connectFailureText struct {
	failure invoicebox.ConnectFailure
	api     string // about the API; "" if it is about the proxy only
	proxy   string // about the proxy; "" if it is about the API only
}

var connectFailureTexts = []connectFailureText{
	{invoicebox.ConnectNoSuchName, "the host name does not exist: check the host of --invoicebox-url and the resolver of this machine", "the host name does not exist: check the host in HTTPS_PROXY"},
	{invoicebox.ConnectResolver, "the name could not be resolved, the resolver did not answer: check the DNS settings of this machine", "the name could not be resolved, the resolver did not answer: check the DNS settings of this machine"},
	{invoicebox.ConnectRefused, "connection refused, nothing listens on the port: check host and port of --invoicebox-url and the firewall", "connection refused, nothing listens on the port: check host and port in HTTPS_PROXY"},
	{invoicebox.ConnectNoRoute, "no route, or a firewall rule of this machine forbids it: check network and firewall; if a proxy is required, set HTTPS_PROXY", "no route, or a firewall rule of this machine forbids it: check network and firewall"},
	{invoicebox.ConnectTimeout, "the connection timed out: check network and firewall; if a proxy is required, set HTTPS_PROXY", "the connection timed out: check host and port in HTTPS_PROXY"},
	{invoicebox.ConnectAuthority, "the certificate is signed by an authority that this machine does not trust: set the authority, or that of a proxy that inspects TLS, with --invoicebox-ca-file (or SSL_CERT_FILE)", "the proxy's certificate is signed by an authority that this machine does not trust: set the authority with --invoicebox-ca-file (or SSL_CERT_FILE)"},
	{invoicebox.ConnectHostName, "the certificate is for another host: check the host of --invoicebox-url", "the proxy's certificate is for another host: check the host in HTTPS_PROXY"},
	{invoicebox.ConnectExpired, "the certificate has expired or is not valid yet: check the clock of this machine; if it is right, the server's certificate must be renewed", "the proxy's certificate has expired or is not valid yet: check the clock of this machine"},
	{invoicebox.ConnectCertificate, "the certificate is not valid for a server: it must be replaced on the server", "the proxy's certificate is not valid for a server"},
	{invoicebox.ConnectNoTLS, "the server does not speak TLS: check host and port of --invoicebox-url", "the proxy does not speak TLS: HTTPS_PROXY must begin with http:// for this proxy"},
	{invoicebox.ConnectHandshake, "the TLS handshake was refused or cut: check host and port of --invoicebox-url, and proxies or firewalls on the way", "the TLS handshake with the proxy was refused or cut"},
	{invoicebox.ConnectProxySetting, "", "HTTPS_PROXY cannot be read: it must be http://HOST:PORT or https://HOST:PORT"},
	{invoicebox.ConnectProxyScheme, "", "only http:// and https:// proxies are supported, not SOCKS: correct HTTPS_PROXY, or name the API's host in NO_PROXY"},
	{invoicebox.ConnectProxyAuth, "", "the proxy requires a user and a password (407): set them in HTTPS_PROXY as http://USER:PASSWORD@HOST:PORT"},
	{invoicebox.ConnectProxyAnswer, "", "the proxy refuses to connect to the API: check its rules, or name the API's host in NO_PROXY"},
	{invoicebox.ConnectProxyNotHTTP, "", "the host and port do not serve an HTTP proxy: check host and port in HTTPS_PROXY"},
	{invoicebox.ConnectNotClassified, "no connection could be made: check --invoicebox-url and the network", "no connection could be made: check HTTPS_PROXY and the network"},
}

// describeObstacle describes why Invoicebox at url cannot be reached.
func describeObstacle(url string, x invoicebox.Exchange, o *Options) string {
	failure, proxy := x.ConnectFailure()
	for _, row := range connectFailureTexts {
		words, who := row.api, url+" cannot be reached"
		if proxy {
			words, who = row.proxy, url+" cannot be reached through the proxy of HTTPS_PROXY"
		}
		if row.failure != failure || words == "" {
			continue
		}
		if failure == invoicebox.ConnectProxyAnswer {
			who += " (" + x.Detail() + ")"
		}
		return who + ": " + words
	}
	if v := invoicebox.Classify(x); v.Reason == invoicebox.ReasonDeadline {
		return fmt.Sprintf("%s did not answer within %s: check --invoicebox-url, the network and the firewall", url, o.RequestDeadline)
	}
	return url + " cannot be reached: check --invoicebox-url and the network"
}

// describeTokenCheck describes the result of the check of an account's token.
func describeTokenCheck(o *Options, x invoicebox.Exchange) (CheckVerdict, string) {
	url, v := o.InvoiceboxURL, invoicebox.Classify(x)
	const noAPI = ", so there is no Invoicebox API at this address: check --invoicebox-url, its path included"
	switch {
	case v.Outcome == invoicebox.Done:
		return CheckOK, url + " accepts the token"
	case v.Outcome == invoicebox.Unauthorized:
		return CheckFailed, url + " refuses the token: check --token-file"
	case v.Outcome == invoicebox.Limited:
		return CheckWarning, url + " reports that the limit of requests is used up; it is unknown whether the token is valid"
	case v.Reason == invoicebox.ReasonSetting:
		return CheckFailed, "the token or the signing key cannot be sent: check --token-file and --signing-key-file"
	case x.Status == 0 && x.Written == 0:
		return CheckFailed, describeObstacle(url, x, o)
	case x.Status == 0 && (v.Reason == invoicebox.ReasonNotHTTP || v.Reason == invoicebox.ReasonHeaderLarge):
		return CheckFailed, url + " does not answer in HTTP" + noAPI
	case x.Status == 0 && v.Reason == invoicebox.ReasonDeadline:
		return CheckWarning, fmt.Sprintf("%s accepted the request and did not answer within %s; it is unknown whether the token is valid", url, o.RequestDeadline)
	case x.Status == 0:
		return CheckWarning, fmt.Sprintf("%s accepted the request and closed the connection without a response (%s); it is unknown whether the token is valid: check --invoicebox-url and try again", url, v.Reason)
	case x.Status >= 300 && x.Status <= 399:
		return CheckFailed, fmt.Sprintf("%s answers with a redirect (%d), which is not followed: check --invoicebox-url for https:// and the host", url, x.Status)
	case v.Fault == invoicebox.FaultAddress:
		return CheckFailed, fmt.Sprintf("%s answers %d without a code of the API%s", url, x.Status, noAPI)
	case v.Fault == invoicebox.FaultRights && v.Code == "":
		return CheckWarning, fmt.Sprintf("%s answers %d without a code of the API: a gateway or proxy refuses this machine; check --invoicebox-url and ask the gateway's operator", url, x.Status)
	case v.Fault == invoicebox.FaultRights:
		return CheckWarning, fmt.Sprintf("%s refuses the account (%d %s): ask Invoicebox to grant the rights", url, x.Status, v.Code)
	case v.Outcome == invoicebox.OurFault:
		return CheckFailed, fmt.Sprintf("%s refuses the request (%d %s): check --invoicebox-url, --partner-id and the signing settings", url, x.Status, v.Code)
	case v.Outcome == invoicebox.Unreadable:
		return CheckFailed, fmt.Sprintf("%s answers %d, but the response is not that of a token check (%s)%s", url, x.Status, contentType(x), noAPI)
	case x.Status == 408 || x.Status == 503 || x.Status == 425:
		return CheckWarning, fmt.Sprintf("%s is unavailable (%d); it is unknown whether the token is valid: try again", url, x.Status)
	default:
		return CheckWarning, fmt.Sprintf("%s failed (%d); it is unknown whether the token is valid: try again", url, x.Status)
	}
}

func contentType(x invoicebox.Exchange) string {
	if t := x.Header.Get("Content-Type"); t != "" {
		return fmt.Sprintf("%d bytes of %.60q", len(x.Body), t)
	}
	return fmt.Sprintf("%d bytes", len(x.Body))
}
