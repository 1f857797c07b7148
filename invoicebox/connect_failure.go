package invoicebox

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// A ConnectFailure is one word of a closed set that says why there is no connection.
type ConnectFailure string

// The reasons for which there is no connection.
const (
	ConnectNoFailure     ConnectFailure = ""
	ConnectNoSuchName    ConnectFailure = "no_such_name"
	ConnectResolver      ConnectFailure = "resolver_failed"
	ConnectRefused       ConnectFailure = "connection_refused"
	ConnectNoRoute       ConnectFailure = "no_route"
	ConnectTimeout       ConnectFailure = "connect_timeout"
	ConnectAuthority     ConnectFailure = "unknown_authority"
	ConnectHostName      ConnectFailure = "certificate_of_other_host"
	ConnectExpired       ConnectFailure = "certificate_expired"
	ConnectCertificate   ConnectFailure = "certificate_invalid"
	ConnectNoTLS         ConnectFailure = "no_tls"
	ConnectHandshake     ConnectFailure = "handshake_failed"
	ConnectProxySetting  ConnectFailure = "proxy_setting"
	ConnectProxyScheme   ConnectFailure = "proxy_scheme"
	ConnectProxyAuth     ConnectFailure = "proxy_authentication"
	ConnectProxyAnswer   ConnectFailure = "proxy_refused"
	ConnectProxyNotHTTP  ConnectFailure = "proxy_not_http"
	ConnectNotClassified ConnectFailure = "connect_failed"
)

// ConnectFailures lists the set, for tables of words.
func ConnectFailures() []ConnectFailure {
	return []ConnectFailure{
		ConnectNoSuchName, ConnectResolver, ConnectRefused, ConnectNoRoute, ConnectTimeout, ConnectAuthority, ConnectHostName,
		ConnectExpired, ConnectCertificate, ConnectNoTLS, ConnectHandshake, ConnectProxySetting, ConnectProxyScheme,
		ConnectProxyAuth, ConnectProxyAnswer, ConnectProxyNotHTTP, ConnectNotClassified,
	}
}

// ConnectFailure says why there is no connection, and whether that is about the
// proxy's connection and not the API's. It is ConnectNoFailure where there was one.
func (x Exchange) ConnectFailure() (f ConnectFailure, proxy bool) {
	if e, ok := errors.AsType[*Error](x.Err); ok {
		return e.connectFailure, e.proxy
	}
	return ConnectNoFailure, false
}

// Detail says in our own words why there is no complete response; empty where
// there is one. It is safe to log.
func (x Exchange) Detail() string {
	if e, ok := errors.AsType[*Error](x.Err); ok {
		return e.detail
	}
	return ""
}

// classifyConnectError tells apart what is below TLS.
func classifyConnectError(err error) ConnectFailure {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return ConnectNoSuchName
		}
		return ConnectResolver
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return ConnectNoRoute
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ConnectTimeout
	}
	return ConnectNotClassified
}
