package invoicebox

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxProxyAnswer bounds what a proxy may answer to CONNECT.
const maxProxyAnswer = 16 << 10

// dialProxy makes a tunnel to address through an HTTP proxy. TLS to the API is
// spoken inside it, so a proxy sees neither requests nor responses.
func (t *Transport) dialProxy(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, &dialError{reason: ReasonProxy, detail: "only http:// and https:// proxies are supported", final: true, connectFailure: ConnectProxyScheme, proxy: true}
	}
	to := targetOf(proxy)
	c, err := t.options.Dial(ctx, "tcp", to.address)
	if err != nil {
		return nil, connectError(err, ReasonProxy)
	}
	if to.host != "" {
		secured, err := t.handshake(ctx, c, to.host)
		if err != nil {
			if phase, ok := errors.AsType[*dialError](err); ok {
				phase.proxy = true
			}
			return nil, err
		}
		c = secured
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	err = tunnel(c, proxy, address)
	if !stop() && err == nil {
		err = &dialError{reason: ReasonProxy, final: true}
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// tunnel asks the proxy for a tunnel.
func tunnel(c net.Conn, proxy *url.URL, address string) error {
	var ask strings.Builder
	ask.WriteString("CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n")
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		ask.WriteString("Proxy-Authorization: Basic " +
			base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)) + "\r\n")
	}
	ask.WriteString("\r\n")
	if _, err := io.WriteString(c, ask.String()); err != nil {
		return connectError(err, ReasonProxy)
	}
	reader := bufio.NewReader(io.LimitReader(c, maxProxyAnswer))
	//nolint:bodyclose // closing would read what a proxy has to say besides
	resp, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return &dialError{reason: ReasonProxy, detail: "the proxy gave no response that can be read", err: err, connectFailure: ConnectProxyNotHTTP, proxy: true}
	}
	if resp.StatusCode != http.StatusOK {
		connectFailure := ConnectProxyAnswer
		if resp.StatusCode == http.StatusProxyAuthRequired {
			connectFailure = ConnectProxyAuth
		}
		return &dialError{reason: ReasonProxy, detail: "the proxy answered " + strconv.Itoa(resp.StatusCode), final: true, connectFailure: connectFailure, proxy: true}
	}
	if reader.Buffered() > 0 {
		// In TLS the server waits for us: whoever spoke, it is not the API.
		return &dialError{reason: ReasonProxy, detail: "the proxy sent more than a response", final: true, connectFailure: ConnectProxyNotHTTP, proxy: true}
	}
	return nil
}
