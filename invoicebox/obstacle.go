package invoicebox

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
)

// An Obstacle is one word of a closed set that says why there is no connection.
type Obstacle string

// The obstacles.
const (
	ObstacleNone          Obstacle = ""
	ObstacleNoSuchName    Obstacle = "no_such_name"
	ObstacleResolver      Obstacle = "resolver_failed"
	ObstacleRefused       Obstacle = "connection_refused"
	ObstacleNoRoute       Obstacle = "no_route"
	ObstacleTimeout       Obstacle = "connect_timeout"
	ObstacleAuthority     Obstacle = "unknown_authority"
	ObstacleHostName      Obstacle = "certificate_of_other_host"
	ObstacleExpired       Obstacle = "certificate_expired"
	ObstacleCertificate   Obstacle = "certificate_invalid"
	ObstacleNoTLS         Obstacle = "no_tls"
	ObstacleHandshake     Obstacle = "handshake_failed"
	ObstacleProxySetting  Obstacle = "proxy_setting"
	ObstacleProxyScheme   Obstacle = "proxy_scheme"
	ObstacleProxyAuth     Obstacle = "proxy_authentication"
	ObstacleProxyAnswer   Obstacle = "proxy_refused"
	ObstacleProxyNotHTTP  Obstacle = "proxy_not_http"
	ObstacleNotClassified Obstacle = "connect_failed"
)

// Obstacles lists the set, for tables of words.
func Obstacles() []Obstacle {
	return []Obstacle{
		ObstacleNoSuchName, ObstacleResolver, ObstacleRefused, ObstacleNoRoute, ObstacleTimeout, ObstacleAuthority, ObstacleHostName,
		ObstacleExpired, ObstacleCertificate, ObstacleNoTLS, ObstacleHandshake, ObstacleProxySetting, ObstacleProxyScheme,
		ObstacleProxyAuth, ObstacleProxyAnswer, ObstacleProxyNotHTTP, ObstacleNotClassified,
	}
}

// Obstacle says why there is no connection, and whether that is about the
// proxy's connection and not the API's. It is ObstacleNone where there was one.
func (x Exchange) Obstacle() (o Obstacle, proxy bool) {
	if e, ok := errors.AsType[*Error](x.Err); ok {
		return e.obstacle, e.proxy
	}
	return ObstacleNone, false
}

// Detail says in our own words why there is no complete answer; empty where
// there is one. It is safe to log.
func (x Exchange) Detail() string {
	if e, ok := errors.AsType[*Error](x.Err); ok {
		return e.detail
	}
	return ""
}

// connectObstacle tells apart what is below TLS.
func connectObstacle(err error) Obstacle {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		if name.IsNotFound {
			return ObstacleNoSuchName
		}
		return ObstacleResolver
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ObstacleRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return ObstacleNoRoute
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return ObstacleTimeout
	}
	return ObstacleNotClassified
}
