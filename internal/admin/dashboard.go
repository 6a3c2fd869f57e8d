package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
)

// web is the dashboard: plain HTML, CSS and JavaScript modules as they are, so there is nothing to build.
//
//go:embed web
var web embed.FS

// policy lets the page load only what this server embeds. There is no inline script or style, no text becomes HTML (Trusted
// Types), and no other site can show the page in a frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'self'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

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
		switch f.Name() {
		case "index.html":
			pattern = "/"
		case "try.html":
			pattern = testPath
		}
		routes = append(routes, route{pattern, map[string]handler{http.MethodGet: file(f.Name(), data)}})
	}
	return routes, nil
}

var headBegins = []byte("<head>\n")

// based is the page with its URLs relative to the path below which a proxy says that it shows it, so that the page works
// also where its address has no slash at the end. The header is the proxy's word: it is taken only if it is a plain path.
func based(page []byte, r *http.Request) []byte {
	prefix := strings.TrimRight(r.Header.Get("X-Forwarded-Prefix"), "/")
	if len(prefix) > 256 || !plainPath.MatchString(prefix) {
		return page
	}
	return bytes.Replace(page, headBegins, append(headBegins[:len(headBegins):len(headBegins)], `<base href="`+prefix+"/\">\n"...), 1)
}

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)

// file serves a file. A browser asks each time whether it has changed, so that a new version of the program is seen at once.
func file(name string, whole []byte) handler {
	kind := contentTypes[path.Ext(name)]
	return func(_ *Admin, w http.ResponseWriter, r *http.Request, _ string) error {
		data := whole
		if path.Ext(name) == ".html" {
			data = based(whole, r)
		}
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		sum := sha256.Sum256(data)
		h.Set("Etag", `"`+hex.EncodeToString(sum[:16])+`"`)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
		return nil
	}
}
