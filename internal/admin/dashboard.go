package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"
)

// web is the dashboard: plain HTML, CSS and JavaScript modules as they are, so there is nothing to build.
//
//go:embed web
var web embed.FS

// policy lets the page load only what this server embeds. There is no inline script or style, no text becomes HTML (Trusted
// Types), and no other site can show the page in a frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// dashboardRoutes serves the page at "/" and its files below "/assets/".
func dashboardRoutes() ([]route, error) {
	files, err := web.ReadDir("web")
	if err != nil {
		return nil, err
	}
	routes := make([]route, 0, len(files))
	for _, f := range files {
		data, err := web.ReadFile("web/" + f.Name())
		if err != nil {
			return nil, err
		}
		pattern := "/assets/" + f.Name()
		if f.Name() == "index.html" {
			pattern = "/"
		}
		sum := sha256.Sum256(data)
		routes = append(routes, route{pattern, map[string]handler{
			http.MethodGet: file(f.Name(), data, `"`+hex.EncodeToString(sum[:16])+`"`),
		}})
	}
	return routes, nil
}

// file serves data. A browser asks each time whether it has changed, so that a new version of the program is seen at once.
func file(name string, data []byte, etag string) handler {
	kind := contentTypes[path.Ext(name)]
	return func(_ *Admin, w http.ResponseWriter, r *http.Request, _ string) error {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		h.Set("Etag", etag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
		return nil
	}
}
