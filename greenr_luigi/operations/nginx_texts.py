"""What the configuration of nginx says: the whole of it, and parts that stand there or not."""

TEMPLATE = """\
# Printed by `greenr nginx`, from luigi.cfg; print it again when that has changed. For /etc/nginx/conf.d/greenr.conf.
limit_conn_zone $binary_remote_addr zone={zone}:1m;

server {{
{listen}
    server_name {names};
    server_tokens off;
    absolute_redirect off;
{resolver}
    limit_conn {zone} {at_a_time};
    limit_conn_status 429;
    client_max_body_size {other_megabytes}m;
    client_header_timeout {header_seconds}s;
    client_body_timeout {body_seconds}s;
    send_timeout 20s;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    # In the place of what a visitor may have sent.
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Request-ID $request_id;
    proxy_set_header X-Forwarded-Prefix "{root_path}";
    # Who knows the dashboard's password tells it to nobody else.
    proxy_set_header Authorization "";

    # The classifier.
{leading}    location {root_path}/ {{
        # Without a trailing slash nginx leaves the prefix on: what is denied below then has one name only.
        proxy_pass {page_at};
        client_max_body_size {body_bytes};
        proxy_read_timeout {answer_seconds}s;
        # What is said here takes the place of all that is said below.
        error_page 413 @too_large_for_page;
        error_page 429 @too_often;
        error_page 502 504 =503 @away;
    }}
    # For machines of this network only.
    location = {root_path}/metrics {{ deny all; }}
    location = {root_path}/readyz {{ deny all; }}

    # The dashboard, whose links are relative.
    location = {dashboard} {{ return 301 {dashboard}/; }}
    location {dashboard}/ {{
{door}
{dashboard_at}
    }}
    location = {dashboard}/metrics {{ deny all; }}

    error_page 413 @too_large;
    error_page 429 @too_often;
    error_page 502 504 =503 @away;
{errors}
}}
"""
RESOLVER = """\
    # A name is looked up again and again, since a container that is made anew has another address.
    resolver {resolver} valid=1s;
    set $greenr_page {page};
    set $greenr_dashboard {dashboard};
"""
ERROR = """\
    location {name} {{
        default_type application/json;
        add_header X-Content-Type-Options nosniff always;
        add_header Cache-Control no-store always;{more}
        return {status} '{{"error": {{"status": {status}, "code": "{code}", "message": "{message}"}}}}';
    }}"""
