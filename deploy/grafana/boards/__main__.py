"""Write every dashboard as JSON."""

from deploy.grafana.boards.all import FOLDER, files

for name, text in files().items():
    (FOLDER / name).write_text(text, encoding="utf-8")
