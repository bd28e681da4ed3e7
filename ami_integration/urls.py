"""Every page of every room that is not a page of a model in the admin."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
